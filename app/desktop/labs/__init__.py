"""The labs: each a tab that measures something in a process of its own."""

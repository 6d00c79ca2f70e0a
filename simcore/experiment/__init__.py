"""One against many: settings, replications, paired comparison."""

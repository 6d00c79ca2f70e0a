"""Draw the picture in the README: the summary of the default scenario, as the terminal shows it.

python scripts/picture.py docs/pictures/simulate.svg
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from app.cli.tables import print_summary
from simcore import Scenario, Simulation

console = Console(record=True, width=84, file=io.StringIO(), force_terminal=True)
simulation = Simulation(Scenario.preset("default"))
console.print("$ python main.py simulate", highlight=False)
console.print(f"{simulation.scenario.name}: {len(simulation.workload):,} requests", highlight=False)
console.print(str(simulation.pool), highlight=False)
print_summary(simulation.run(), console)
svg = console.export_svg(title="KVScope")
svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no fonts from elsewhere
Path(sys.argv[1]).write_text(svg, encoding="utf-8", newline="\n")

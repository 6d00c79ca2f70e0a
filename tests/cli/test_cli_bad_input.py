"""What nobody should type, by class, for every command: one sentence, exit code 2, and nothing is left behind."""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from app.cli import benchmark, main
from simcore.experiment.published import NAMES
from simcore.experiment.published.caches import WHICH
from simcore.scenario.presets import preset_names

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
NATIVE = {"id": "a", "arrival": 0, "output_len": 1, "prompt_len": 40}
pytestmark = pytest.mark.skipif(os.name != "posix", reason="where the system has a say, it speaks as POSIX does")

NAME = (
    "but must be text of at most 100 letters, digits, spaces and any of _ . , + = ( ) -, with a letter or digit first"
)
BLOCKS = "but must be a whole number from 2 to 1,000,000,000 (blocks)"
SECTIONS = "name, seed, model, hardware, memory, scheduler, pruning, timing, workload, metrics"
PUBLISHED = ", ".join(NAMES)
PRESETS = ", ".join(preset_names("scenarios"))
MISSING, IS_FOLDER = "cannot be read: no such file or directory", "cannot be read: is a directory"
FORMATS = "kvscope, azure, burstgpt, mooncake, bailian, kv-cache-tester, vidur, servegen, llmservingsim"
HELP = "; --help explains"
NO_CHUNKS = "is a folder or an archive without the files chunk-N-trace.csv of ServeGen"

FILES: dict[str, bytes] = {
    # scenarios
    "good.toml": b'[model]\npreset = "gpt2"\n[hardware]\npreset = "l4"\n[workload]\nrequests = 2\n',
    "bare.toml": b"",
    "binary.toml": b"name = '\xff'",
    "nul.toml": b"name\0",
    "cut.toml": b"[memory",
    "twice.toml": b"[memory]\n[memory]",
    "deep.toml": b"name = " + b"[" * 100_000,
    "digits.toml": b"seed = " + b"9" * 5000,
    "long.toml": b"# " + b"x" * (1 << 20),
    "unknown.toml": b"[memory]\nblocsk = 4",
    "type.toml": b"[memory]\nblocks = 'many'",
    "range.toml": b"[memory]\nblocks = 1",
    "nan.toml": b"[metrics.slo]\nttft = nan",
    "steering.toml": b'"\\u001b[31m" = 1',
    "pruning.toml": b"[pruning]\nkeep = 2",
    "traceless.toml": b'[memory]\nblocks = 9\n[timing]\nmodel = "constant"\n[workload]\ntrace = "none.csv"',
    "config.toml": b"[model]\nconfig = 'bare.toml'",
    "folder/scenario.toml": b"",
    # results of an earlier run, and what somebody keeps
    "old/summary.json": b"{}",
    "blocked/summary.json/mine": b"",
    "halves/run.json": b"{}",
    "run/run.json": b"{}",
    "run/summary.json": b"{",
    "compared/run.json": b"{}",
    "compared/experiment.toml": b"scenario = 'scenario.toml'\n[factors]",
    "compared/scenario.toml": b'[model]\npreset = "gpt2"\n[hardware]\npreset = "l4"\n',
    "notes.txt": b"mine",
    # experiments
    "study-key.toml": b"replication = 3\n[factors]\nseed = [1, 2]",
    "study-type.toml": b"replications = true\n[factors]\nseed = [1, 2]",
    "study-factor.toml": b"[factors]\nseed = 3",
    "study-level.toml": b"[factors]\nmemory.blocks = [1, 200]",
    "study-warmup.toml": b"warmup = 1" + b"0" * 400 + b"\n[factors]\nseed = [1, 2]",
    "study-confidence.toml": b"confidence = 1" + b"0" * 400 + b"\n[factors]\nseed = [1, 2]",
    "study-baseline.toml": b"baseline = 3\n[factors]\nseed = [1, 2]",
    "study-metric.toml": b"metrics = ['ttft.p98']\n[factors]\nseed = [1, 2]",
    "study-until.toml": b"until = 'soon'\n[factors]\nseed = [1, 2]",
    "study-empty.toml": b"[factors]\nseed = []",
    "study-nameless.toml": b"[factors]\n'' = [1]",
    "study-scenario.toml": b"scenario = 'none.toml'\n[factors]\nseed = [1, 2]",
    # policies
    "exits.py": b"import sys\nsys.exit(0)",
    "escapes.py": b"raise GeneratorExit",
    "exits-later.py": b"import sys\nfrom simcore.policies import Eviction\nclass Leaver(Eviction):\n"
    b"    name = 'leaver'\n    def start(self, setting): sys.exit(0)\n"
    b"    insert = hit = release = remove = victim = lambda *_: None",
    # traces
    "empty.csv": b"",
    "blank.csv": b" \n\r\n",
    "cut.gz": gzip.compress(AZURE.encode() * 100, mtime=0)[:-9],
    "damaged.gz": gzip.compress(b"x", mtime=0) + b"junk",
    "columns.csv": b"when,how,many\n1,2,3\n",
    "no-column.csv": b"TIMESTAMP,ContextTokens\n2023-11-16 18:17:03.5,1\n",
    "number.csv": AZURE.encode() + b"2023-11-16 18:17:03.5,10,x\n",
    "negative.csv": AZURE.encode() + b"2023-11-16 18:17:03.5,10,-5\n",
    "fields.csv": AZURE.encode() + b"2023-11-16 18:17:03.5,10\n",
    "time.csv": AZURE.encode() + b"yesterday,10,5\n",
    "bytes.csv": AZURE.encode() + b"2023-11-16 18:17:03.5,10,\xff\n",
    "no-output.csv": AZURE.encode() + b"2023-11-16 18:17:03.5,10,0\n",
    "broken.jsonl": json.dumps(NATIVE).encode() + b"\n{",
    "nested.jsonl": json.dumps(NATIVE).encode() + b'\n{"id": ' + b"[" * 100_000,
    "nan.jsonl": json.dumps(NATIVE | {"arrival": float("nan")}).encode(),
    "infinite.jsonl": json.dumps(NATIVE | {"arrival": float("inf")}).encode(),
    "twice.jsonl": (json.dumps(NATIVE) + "\n").encode() * 2,
    "key.jsonl": json.dumps({name: value for name, value in NATIVE.items() if name != "output_len"}).encode(),
    "late.jsonl": json.dumps(NATIVE | {"arrival": 9e6}).encode(),
}

SCENARIOS = {
    "none.toml": f"none.toml: {MISSING}",
    "folder/none.toml": f"folder/none.toml: {MISSING}",
    "notes.txt/a.toml": "notes.txt/a.toml: cannot be read: not a directory",
    "folder.toml/": f"folder.toml: {MISSING}",
    "../" + "n" * 300 + ".toml": "../" + "n" * 300 + ".toml: cannot be read: file name too long",
    "binary.toml": "binary.toml, line 1: byte 0xff is not UTF-8 text",
    "nul.toml": "nul.toml, line 1, column 5: not TOML: expected '=' after a key in a key/value pair",
    "cut.toml": "cut.toml, line 1, column 8: not TOML: expected ']' at the end of a table declaration",
    "twice.toml": "twice.toml, line 2, column 8: not TOML: cannot declare this table twice",
    "deep.toml": "deep.toml: not a scenario: values are nested too deeply",
    "digits.toml": "digits.toml: not a scenario: a number in it has thousands of digits",
    "long.toml": "long.toml: longer than 1 MiB, so it is no scenario",
    "unknown.toml": "unknown.toml: memory.blocsk is not a key; did you mean memory.blocks?",
    "type.toml": f'type.toml: memory.blocks is "many", {BLOCKS}',
    "range.toml": f"range.toml: memory.blocks is 1, {BLOCKS}",
    "nan.toml": "nan.toml: metrics.slo.ttft is nan, but must be a number, above 0 (s)",
    "steering.toml": f'steering.toml: "\\u001b[31m" is not a key; a scenario has {SECTIONS}',
    "pruning.toml": "pruning.toml: pruning.keep is 2, but must be a number, above 0 and at most 1",
    "config.toml": "config.toml: model: {here}/bare.toml: must hold one JSON object",
}
"""A scenario's file, and what `simulate` and `scenario check` say of it."""

ASSIGNMENTS = {
    "": '--set "": must be KEY=VALUE, as in memory.blocks=4096',
    "=": '--set "=": must be KEY=VALUE, as in memory.blocks=4096',
    "memory.blocks": '--set "memory.blocks": must be KEY=VALUE, as in memory.blocks=4096',
    "memory.blocks=": '--set "memory.blocks=": must be KEY=VALUE, as in memory.blocks=4096',
    "memory..blocks=9": '--set "memory..blocks=9": must be KEY=VALUE, as in memory.blocks=4096',
    "memory.blocsk=9": "--set: memory.blocsk is not a key; did you mean memory.blocks?",
    "a.b.c.d=1": f"--set: a is not a key; a scenario has {SECTIONS}",
    "memory.blocks.more=9": "--set memory.blocks.more: memory.blocks is 500 and no table",
    "memory=9": "--set: memory is 9, but must be a table",
    "memory.blocks=many": f'--set: memory.blocks is "many", {BLOCKS}',
    "memory.blocks=1": f"--set: memory.blocks is 1, {BLOCKS}",
    "memory.blocks=1e3": f"--set: memory.blocks is 1000.0, {BLOCKS}",
    "memory.blocks=true": f"--set: memory.blocks is true, {BLOCKS}",
    "memory.blocks=9\nname='x'": f"--set: memory.blocks is \"9\\nname='x'\", {BLOCKS}",
    "memory.blocks=" + "9" * 5000: f'--set: memory.blocks is "{"9" * 75} ..., {BLOCKS}',
    "metrics.slo.ttft=nan": "--set: metrics.slo.ttft is nan, but must be a number, above 0 (s)",
    "name=[[": '--set name: "[[" is no TOML value',
    "name=" + "[" * 100_000: f'--set name: "{"[" * 75} ... is no TOML value',
    "name=../up": f'--set: name is "../up", {NAME}',
    "name=" + "n" * 100_000: f'--set: name is "{"n" * 75} ..., {NAME}',
    "name=\udcff": f'--set: name is "\\udcff", {NAME}',
    "name=\u202eevil": f'--set: name is "\\u202eevil", {NAME}',
    "n\u1e9eme=1": '--set: "n\u1e9eme" is not a key; did you mean name?',
    "workload.trace=none.csv": f"{{here}}/none.csv: {MISSING}",
    'workload.trace="\\u0000"': "{here}/\\x00: cannot be read: a path has no null character",
    "model.preset=gpt5": '--set: model.preset is "gpt5", but no model preset is called "gpt5"; did you mean "gpt2"?',
    "model.config=none.json": f"--set: model: {{here}}/none.json: {MISSING}",
    "model.preset=mamba": 'preset "default": memory.prefix_caching is true, but must be false for a model with '
    "state-space layers: what a state was at the end of a prefix is overwritten, and keeping copies of it cannot be "
    "simulated yet",
}
"""A value of `--set`, and what `simulate` and `scenario check` say of it."""

TRACES = {
    "none.csv": f"none.csv: {MISSING}",
    "folder": f"folder: {NO_CHUNKS}",
    "empty.csv": "empty.csv: is empty",
    "blank.csv": "blank.csv: is empty",
    "cut.gz": "cut.gz: is cut short, its gzip stream ends before its end mark",
    "damaged.gz": "damaged.gz: is damaged, its gzip stream cannot be unpacked (Not a gzipped file (b'ju'))",
    "columns.csv": 'columns.csv: is in no known trace format, its columns or keys are "how", "many", "when" '
    f"(the formats are {FORMATS})",
    "no-column.csv": "no-column.csv, line 1: column 'GeneratedTokens' is missing, the columns are "
    '"ContextTokens", "TIMESTAMP"',
    "number.csv": 'number.csv, line 2: GeneratedTokens must be a whole number from 0 to 2147483647, not "x"',
    "negative.csv": "negative.csv, line 2: GeneratedTokens must be a whole number from 0 to 2147483647, not -5",
    "fields.csv": "fields.csv, line 2: it has 2 fields where the header has 3",
    "time.csv": 'time.csv, line 2: TIMESTAMP must be a time like 2023-11-16 18:17:03.9799600, not "yesterday"',
    "bytes.csv": "bytes.csv, line 2: byte 0xff at place 26 is not UTF-8",
    "broken.jsonl": "broken.jsonl, line 2: it is not valid JSON (Expecting property name enclosed in double quotes at "
    "column 2)",
    "nested.jsonl": "nested.jsonl, line 2: its JSON is nested too deeply",
    "nan.jsonl": "nan.jsonl, line 1: arrival must be a number from 0 to 10000000000 s, not nan",
    "infinite.jsonl": "infinite.jsonl, line 1: arrival must be a number from 0 to 10000000000 s, not inf",
    "twice.jsonl": 'twice.jsonl, line 2: the id "a" is taken by line 1',
    "key.jsonl": "key.jsonl, line 1: output_len is missing",
}
"""A trace, and what `simulate --trace` (which names it in full) and `trace info` say of it."""

POOL = "memory.blocks is missing; it can be derived from hardware.preset or hardware.memory"
EMPTY = f"Invalid value for '{{}}': a path must not be empty{HELP}"
BELONGS = "belongs to the results in {}; choose another file for --steps"
PLAN = ["plan", "--model", "gpt2", "--hardware", "l4"]
COMMANDS: list[tuple[list[str], str]] = [
    # the command line itself
    ([""], f"No such command ''{HELP}"),
    (["simulat"], f"No such command 'simulat'. Did you mean 'simulate'?{HELP}"),
    (["--nothing"], f"No such option: --nothing{HELP}"),
    (["scenario"], f"Missing command{HELP}"),
    (["trace"], f"Missing command{HELP}"),
    (["benchmark"], f"Missing command{HELP}"),
    # memory, serve
    (["memory", "--model", "gpt9"], 'no model preset is called "gpt9"; did you mean "gpt2"?'),
    (["memory", "--model", "none.json"], f"none.json: {MISSING}"),
    (["memory", "--model", "bare.toml.json"], f"bare.toml.json: {MISSING}"),
    (["memory", "--hardware", "h1000"], 'no hardware preset is called "h1000"; did you mean "h100"?'),
    (["memory", "--count", "2"], "--count is 2, but --hardware does not say what is shared"),
    (["memory", "--kv-dtype", "int3"], 'kv_dtype is "int3", but must be \'float16\', \'bfloat16\', \'float32\', '
     "'float64', 'float8' or 'int4'"),
    (["memory", "--tokens", "3000"], "a request has 3,000 tokens, but at most 2,048 are reserved for it"),
    (["memory", "--blocks", "7"], "the pool has 7 blocks, but tinyllama-1.1b needs 8 for this batch"),
    (["memory", "--requests", "1,2", "--batch", "3"], "--requests says how long each request is; leave --tokens and "
     "--batch out"),
    (["memory", "--requests", ""], "--requests is empty: give lengths in tokens, as in 128,4x2048, or a trace"),
    (["memory", "--requests", "1,0"], '--requests has "0", but must hold lengths in tokens, as in 128,4x2048'),
    (["memory", "--requests", "1x2x3"], '--requests has "1x2x3", but must hold lengths in tokens, as in 128,4x2048'),
    (["memory", "--requests", "100001x1"], "--requests has more than 100,000 requests"),
    (["memory", "--requests", "none.csv"], f"none.csv: {MISSING}"),
    (["memory", "--requests", "a\0"], "a\\x00: cannot be read: a path has no null character"),
    # simulate
    (["simulate", ""], f'no scenario preset is called ""; there are {PRESETS}'),
    (["simulate", "cha"], 'no scenario preset is called "cha"; did you mean "chat"?'),
    (["simulate", "folder"], f'no scenario preset is called "folder"; there are {PRESETS}'),
    (["simulate", "\udcff\x1b[31m"], f'no scenario preset is called "\\udcff\\u001b[31m"; there are {PRESETS}'),
    (["simulate", "n" * 10_000], f'no scenario preset is called "{"n" * 75} ...; there are {PRESETS}'),
    (["simulate", "a\0.toml"], "a\\x00.toml: cannot be read: a path has no null character"),
    (["simulate", "bare.toml"], POOL),
    (["simulate", "chat", "twice"], f"Got unexpected extra argument(s) (twice){HELP}"),
    (["simulate", "--jsn"], f"No such option: --jsn (Possible options: --json, --set){HELP}"),
    (["simulate", "--json=yes"], f"Option '--json' does not take a value{HELP}"),
    (["simulate", "--out"], f"Option '--out' requires an argument{HELP}"),
    (["simulate", "--skip-bad-lines"], "--set: workload.skip_bad_lines is true, but it only applies to a trace, and "
     "workload.trace is not given"),
    (["simulate", "--trace", "no-output.csv"], '"{here}/no-output.csv" leaves no request to simulate: 1 were read, '
     "1 of them lie in the window, and none of those has a prompt and an output."),
    (["simulate", "--trace", "late.jsonl"], "The last request arrives after 9,000,000 s, and a run may last 8,388,608 "
     "s (97 days); take fewer requests or a higher rate."),
    (["simulate", "--policy", "exits.py"], "exits.py, line 2: SystemExit: 0"),
    (["simulate", "--policy", "escapes.py"], "escapes.py, line 1: GeneratorExit: "),
    (["simulate", "--json", "--policy", "exits-later.py"], "{here}/exits-later.py, line 5, in start: SystemExit: 0"),
    # simulate --out
    (["simulate", "--out", ""], EMPTY.format("--out")),
    (["simulate", "--out", "a\0"], f"Invalid value for '--out': a path has no null character{HELP}"),
    (["simulate", "--out", "notes.txt"], "notes.txt: is no folder, and results need one there"),
    (["simulate", "--out", "notes.txt/below"], "notes.txt: is no folder, and results need one there"),
    (["simulate", "--out", "notes.txt", "--force"], "notes.txt: is no folder, and results need one there"),
    (["simulate", "--out", "old"], "old: is not empty; choose another folder, or replace the results in it with "
     "--force"),
    (["simulate", "--out", "."], ".: is not empty; choose another folder, or replace the results in it with --force"),
    (["simulate", "--out", "blocked", "--force"], "blocked/summary.json: is a folder, and a file of the results "
     "belongs there"),
    (["simulate", "--out", "n" * 300], f"{'n' * 300}: cannot be written: file name too long"),
    (["simulate", "--out", "new/deeper/" + "n" * 300],
     f"new/deeper/{'n' * 300}: cannot be written: file name too long"),
    # simulate --steps
    (["simulate", "--steps", ""], EMPTY.format("--steps")),
    (["simulate", "--steps", "folder"], "folder: is a folder, and a file is to be written there"),
    (["simulate", "--steps", "notes.txt"], "notes.txt: is no log of steps; choose another file, or replace it with "
     "--force"),
    (["simulate", "--steps", "notes.txt/below"], "notes.txt/below: cannot be written: not a directory"),
    (["simulate", "--steps", "new/" + "n" * 300], f"new/{'n' * 300}: cannot be written: file name too long"),
    (["simulate", "--out", "new", "--steps", "new"], f"new: {BELONGS.format('new')}"),
    (["simulate", "--out", "new", "--steps", "./new/../new/run.json"],
     f"new/../new/run.json: {BELONGS.format('new')}"),
    # compare and sweep
    (["compare", "cha"], 'no scenario preset is called "cha"; did you mean "chat"?'),
    (["compare", "--vary", "a"], '--vary "a": must be KEY=VALUE,VALUE as in memory.eviction=lru,arc'),
    (["compare", "--vary", "memory.blocsk=200"], "--vary: memory.blocsk is not a key; did you mean memory.blocks?"),
    (["compare", "--vary", "memory.blocks=1,200"], f"--vary: memory.blocks is 1, {BLOCKS}"),
    (["compare", "--vary", "memory.blocks=200,,300"], "--vary memory.blocks: a value is missing between two commas"),
    (["compare", "--vary", "memory.blocks=200,[3"], '--vary memory.blocks: "[3" is no TOML value'),
    (["compare", "--vary", "memory.blocks=200,200"], "--vary memory.blocks: 200 is there twice"),
    (["compare", "--vary", "seed=1,2", "--vary", "seed=3"], "--vary: seed is varied twice"),
    (["compare", "--vary", "seed=1,2", "--baseline", "seed=3"], "baseline: seed is 3, but must be one of 1, 2"),
    (["compare", "--vary", "seed=1,2", "--baseline", "name=a"], "baseline: name is not varied; seed is"),
    (["compare", "--warmup", "soon"], 'warmup is "soon", but must be a number of seconds or "mser5"'),
    (["compare", "--warmup", "nan"], "warmup is nan, but must be from 0 to 10,000,000 (s)"),
    (["compare", "--metric", "ttft.p98"], '--metric: there is no metric "ttft.p98"; did you mean ttft.p99?'),
    (["compare", "--trace", "none.csv"], f"{{here}}/none.csv: {MISSING}"),
    (["compare", "--no-store", "--store", "new"], "--store and --no-store exclude each other"),
    (["compare", "--store", "notes.txt"], "notes.txt: cannot be written: file exists"),
    (["compare", "--no-store", "--cluster", "here"], 'cluster is "here", but must be like tcp://host:8786'),
    (["compare", "--no-store", "--cluster", "tcp://127.0.0.1:9"], "no scheduler of a Dask cluster answers at "
     "tcp://127.0.0.1:9: connection refused"),
    (["sweep", "--vary", "seed=5:1"], '--vary seed: "5:1" must be FIRST:LAST:STEP with FIRST <= LAST, STEP above 0'),
    (["sweep", "--vary", "seed=log:0:9:3"], '--vary seed: "log:0:9:3" must be log:FIRST:LAST:COUNT with 0 < FIRST < '
     "LAST, COUNT 2 or more"),
    (["sweep", "--vary", "seed=0:1000000"], '--vary seed: "0:1000000" gives more than 10,000 values'),
    (["sweep", "--vary", "seed=0:9999", "--replications", "101"], "the experiment has 1,010,000 runs, and at most "
     "1,000,000 are possible"),
    (["sweep", "--until", "ttft.p99"], '--until "ttft.p99": must be METRIC < NUMBER with its unit, as in e2e.p99 < '
     "2s"),
    (["sweep", "--until", "ttft.p99 < 5%"], '--until "ttft.p99 < 5%": ttft.p99 is in s, ms or us'),
    (["sweep", "--until", "TTFT.p99 < 5s"], '--until "TTFT.p99 < 5s": there is no metric "TTFT.p99"; did you mean '
     "ttft.p99?"),
    (["sweep", "--until", "ttft.p99 < inf"], '--until "ttft.p99 < inf": must be METRIC < NUMBER with its unit, as in '
     "e2e.p99 < 2s"),
    (["sweep", "--until", "ttft.p99 < -5ms"], '--until "ttft.p99 < -5ms": the limit is -5, but no metric is ever '
     "below 0"),
    (["sweep", "bare.toml", "--no-store"], POOL),
    (["compare", "study-warmup.toml"], "study-warmup.toml: describes an experiment, which is run by kvscope sweep"),
    (["sweep", "study-warmup.toml"], "study-warmup.toml: warmup is a number with hundreds of digits"),
    (["sweep", "study-confidence.toml"], "study-confidence.toml: confidence is a number with hundreds of digits"),
    (["sweep", "study-baseline.toml"], "study-baseline.toml: baseline is 3, but must be a table"),
    (["sweep", "study-metric.toml"], 'study-metric.toml: there is no metric "ttft.p98"; did you mean ttft.p99?'),
    (["sweep", "study-until.toml"], 'study-until.toml: until "soon": must be METRIC < NUMBER with its unit, as in '
     "e2e.p99 < 2s"),
    (["sweep", "study-empty.toml"], "study-empty.toml: seed: a factor needs at least one value"),
    (["sweep", "study-nameless.toml"], 'study-nameless.toml: factors: "" is no key of a scenario'),
    (["sweep", "--no-store", "--set", "workload.arrivals.process=all-at-once", "--until", "ttft.p99 < 1s"],
     "workload.arrivals: all-at-once has no rate that could be searched"),
    (["sweep", "study-key.toml"], "study-key.toml: replication is not a key; did you mean replications?"),
    (["sweep", "study-type.toml"], "study-type.toml: replications is true, but must be a whole number"),
    (["sweep", "study-factor.toml"], "study-factor.toml: factors: seed is 3, but must be a list of values, or a text"),
    (["sweep", "study-level.toml"], f"study-level.toml: memory.blocks is 1, {BLOCKS}"),
    (["sweep", "study-scenario.toml"], f"study-scenario.toml: none.toml: {MISSING}"),
    # scenario
    (["scenario", "new", ""], f'scenario: name is "", {NAME}'),
    (["scenario", "new", "a/b"], f'scenario: name is "a/b", {NAME}'),
    (["scenario", "new", "\udcff"], f'scenario: name is "\\udcff", {NAME}'),
    (["scenario", "new", "n" * 300], f'scenario: name is "{"n" * 75} ..., {NAME}'),
    (["scenario", "new", "--preset", ""], f'no scenario preset is called ""; there are {PRESETS}'),
    (["scenario", "new", "good"], "good.toml: exists already; choose another file with --out"),
    (["scenario", "new", "--out", ""], EMPTY.format("--out")),
    (["scenario", "new", "--out", "folder"], "folder: exists already; choose another file with --out"),
    (["scenario", "new", "--out", "none/a.toml"], "none/a.toml: cannot be written: no such file or directory"),
    (["scenario", "new", "--out", "notes.txt/a.toml"], "notes.txt/a.toml: cannot be written: not a directory"),
    (["scenario", "check"], f"Missing argument 'file'{HELP}"),
    (["scenario", "check", ""], EMPTY.format("file")),
    (["scenario", "check", "a\0"], f"Invalid value for 'file': a path has no null character{HELP}"),
    (["scenario", "check", "bare.toml"], f"bare.toml: {POOL}"),
    (["scenario", "check", "."], f".: {IS_FOLDER}"),
    (["scenario", "check", "traceless.toml"], 'traceless.toml: workload.trace is "{here}/none.csv", but there is no '
     "such file"),
    (["scenario", "schema", "more"], f"Got unexpected extra argument(s) (more){HELP}"),
    (["scenario", "list", "--json"], f"No such option: --json{HELP}"),
    # reproduce
    (["reproduce"], f"Missing argument 'LIST|NAME'{HELP}"),
    (["reproduce", ""], f'nothing is called ""; there are {PUBLISHED}'),
    (["reproduce", "vllm"], f'nothing is called "vllm"; there are {PUBLISHED}'),
    (["reproduce", "list", "--trace", "late.jsonl"], "list plays no trace: --trace is for mooncake-hit-ratio"),
    (["reproduce", "seed-004", "--trace", "x"], "seed-004 plays no trace: --trace is for mooncake-hit-ratio"),
    (["reproduce", "seed-004", "--jobs", "0"],
     f"Invalid value for '--jobs': Input should be greater than or equal to 1{HELP}"),
    (["reproduce", "mooncake-hit-ratio"], f"mooncake-hit-ratio needs --trace FILE: {WHICH}"),
    (["reproduce", "mooncake-hit-ratio", "--trace", "none"], f"none: {MISSING}"),
    (["reproduce", "mooncake-hit-ratio", "--trace", ""], EMPTY.format("--trace")),
    # trace
    (["trace", "info"], f"Missing argument 'file'{HELP}"),
    (["trace", "info", ""], EMPTY.format("file")),
    (["trace", "info", "a\0"], f"Invalid value for 'file': a path has no null character{HELP}"),
    (["trace", "info", "late.jsonl", "--format", "csv"], f'format must be one of auto, {FORMATS}, not "csv"'),
    (["trace", "info", "late.jsonl", "--format", "azure"], "late.jsonl: is not in the format azure, it looks like "
     "kvscope"),
    (["trace", "info", "late.jsonl", "--sessions", "both"], 'sessions must be one of sequential, stagger60, not '
     '"both"'),
    (["trace", "info", "late.jsonl", "--seed", "-1"], "seed must not be negative, but is -1"),
    (["trace", "info", "late.jsonl", "--seed", "x"], "Invalid value for '--seed': Input should be a valid integer, "
     f"unable to parse string as an integer{HELP}"),
    (["trace", "info", "number.csv", "--skip-bad-lines"], "number.csv: holds no request, all its lines are broken, "
     'the first is number.csv, line 2: GeneratedTokens must be a whole number from 0 to 2147483647, not "x"'),
    (["trace", "from-log", "none.jsonl"], f"none.jsonl: {MISSING}"),
    (["trace", "from-log", "key.jsonl"], "key.jsonl, line 1: it has none of prompt_token_ids, messages, prompt, its "
     'keys are "arrival", "id", "prompt_len"'),
    (["trace", "from-log", "key.jsonl", "--tokenizer", "folder"], "folder: has no tokenizer.json, so it is no "
     "tokenizer in Hugging Face's layout"),
    (["trace", "from-log", "key.jsonl", "--out", "./key.jsonl"], "key.jsonl: would be overwritten, and it is what is "
     "read; choose another name"),
    (["trace", "from-log", "key.jsonl", "--salt", ""], "--salt is empty, and whoever tries out texts would find them; "
     "give a key, or leave it out"),
    (["trace", "from-log", "key.jsonl", "--hash-block", "0"], "Invalid value for '--hash-block': Input should be "
     f"greater than or equal to 1{HELP}"),
    (["trace", "convert", "late.jsonl"], f"Missing option '--to'{HELP}"),
    (["trace", "convert", "late.jsonl", "--to", "csv"], "a trace can be written as one of kvscope, mooncake, vidur, "
     'azure, not "csv"'),
    (["trace", "convert", "late.jsonl", "--to", "vidur", "--out", "late.jsonl"], "late.jsonl: would be overwritten, "
     "and it is what is read; choose another name"),
    (["trace", "convert", "cha", "--to", "vidur"], 'no scenario preset is called "cha"; did you mean "chat"?'),
    (["trace", "convert", "", "--to", "vidur"], f"Invalid value: a path must not be empty{HELP}"),
    # calibrate
    (["calibrate", "--scenario", "chat"], "--scenario, --metrics and --hold-out go with --from, which names a server's "
     "benchmark"),
    (["calibrate", "--from", "late.jsonl"], "--from needs --scenario: the model, hardware and scheduler that the "
     "server was started with"),
    (["calibrate", "--from", "none.json", "--scenario", "chat"], f"none.json: {MISSING}"),
    (["calibrate", "--from", "late.jsonl", "--scenario", "chat"], "late.jsonl: input_lens is missing: vllm bench serve "
     "writes it with --save-result --save-detailed"),
    (["calibrate", "--from", "late.jsonl", "--scenario", "chat", "--out", "late.jsonl"], "late.jsonl: would be "
     "overwritten, and it is what is read; choose another name"),
    (["calibrate", "--from", "late.jsonl", "--scenario", "chat", "--hold-out", "./late.jsonl"], "--hold-out is "
     "late.jsonl, but that is what is fitted; it must be another benchmark"),
    # overlay
    (["overlay", "late.jsonl"], f"Missing option '--scenario'{HELP}"),
    (["overlay", "none.json", "--scenario", "chat"], f"none.json: {MISSING}"),
    (["overlay", "late.jsonl", "--scenario", "chat", "--chart", "a.pdf"], "a.pdf: a chart's name must end in .svg or "
     ".png"),
    (["overlay", "late.jsonl", "--scenario", "chat", "--out", "late.jsonl"], "late.jsonl: would be overwritten, and it "
     "is what is read; choose another name"),
    # report
    (["report"], f"Missing argument 'DIR'{HELP}"),
    (["report", ""], EMPTY.format("DIR")),
    (["report", "none"], "none: is no folder of results"),
    (["report", "notes.txt"], "notes.txt: is no folder of results"),
    (["report", "old"], "old: has no run.json, so it is no complete folder of results"),
    (["report", "halves"], "halves: has neither summary.json nor experiment.toml, so there is nothing to report"),
    (["report", "run"], "run/summary.json: is no JSON"),
    (["report", "run", "--out", "run.pdf"], "--out is run.pdf, but the report of one run is a file whose name ends in "
     ".html"),
    (["report", "compared", "--out", "page.html"], "--out is page.html, but the report of a comparison is a folder, "
     "which gets all its files"),
    (["report", "compared"], "compared/results.parquet: is missing, and the report is made from it"),
    (["compare", "good.toml", "--no-store", "--out", "notes.txt"], "notes.txt: is no folder, and results need one "
     "there"),
    (["sweep", "good.toml", "--no-store", "--out", "folder"], "folder: is not empty; choose another folder, or "
     "replace the results in it with --force"),
    (["sweep", "good.toml", "--until", "e2e.p99 < 2s", "--out", "new"], "--out writes a comparison, and --until finds "
     "a rate; leave one of them out"),
    # plan
    ([*PLAN, "--workload", "9:9", "--slo", "ttft<1s"], '--slo "ttft<1s": there is no metric "ttft"; did you mean '
     "ttft.p99?"),
    ([*PLAN, "--workload", "9:9", "--slo", "ttft.p99"], '--slo "ttft.p99": must be METRIC < NUMBER with its unit, as '
     "in e2e.p99 < 2s"),
    ([*PLAN, "--workload", "9:9", "--slo", "ttft.p99 < 0"], "--slo: ttft.p99 < 0 s, but a time must be above 0 and "
     "below 1,000,000 s"),
    ([*PLAN, "--workload", "9:9", "--slo", "ttft.p99 > 1s"], "--slo: ttft.p99 > 1 s, but a limit must be one of ttft, "
     "tpot, itl, e2e, queue, a dot, one of mean, p50, p90, p99, < and a time, as in ttft.p99 < 0.5s"),
    *(([*PLAN, "--workload", lengths, "--slo", "ttft.p99<1s"], f'--workload is "{lengths}", but mean lengths must be '
       "two whole numbers from 1 to 1,000,000 (tokens), as in 600:200")
      for lengths in ("600:-2", "600:", "600:200:3", "0/5", "600:1e3", "9:1000001", "nan:5")),
    ([*PLAN, "--workload", "none.jsonl", "--slo", "ttft.p99<1s"], f"{{here}}/none.jsonl: {MISSING}"),
    ([*PLAN, "--workload", "cha", "--slo", "ttft.p99<1s"], '--workload: no scenario preset is called "cha"; did you '
     'mean "chat"?'),
    ([*PLAN, "--workload", "9:9", "--slo", "ttft.p99<1s", "--calibration", "none.toml"],
     f"{{here}}/none.toml: {MISSING}"),
    ([*PLAN, "--workload", "number.csv", "--slo", "ttft.p99<1s"], "{here}/number.csv, line 2: GeneratedTokens must be "
     'a whole number from 0 to 2147483647, not "x"'),
    # benchmark
    (["benchmark", "simulate", "--runs", "0"], "Invalid value for '--runs': Input should be greater than or equal to "
     f"1{HELP}"),
    (["benchmark", "simulate", "--runs", "many"], "Invalid value for '--runs': Input should be a valid integer, "
     f"unable to parse string as an integer{HELP}"),
    (["benchmark", "scaling", "--trace", ""], EMPTY.format("--trace")),
    (["benchmark", "scaling", "--trace", "none.csv", "--runs", "1"], f"{{here}}/none.csv: {MISSING}"),
]  # fmt: skip
"""A command line, and what is said of it; {here} is the working directory."""


@pytest.fixture(autouse=True)
def _among_bad_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files()


def write_files() -> None:
    for name, content in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)


def contents(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """Everything below a folder: kind, size and time of its last change."""
    found = ((path, path.lstat()) for path in folder.rglob("*"))
    return {path: (info.st_mode, info.st_size, info.st_mtime_ns) for path, info in found}


class Refused:
    """Run a command that must be refused."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str) -> str:
        """The sentence that is said."""
        before = contents(Path())
        assert main(list(argv)) == 2
        out, err = self._capsys.readouterr()
        assert out == ""
        assert contents(Path()) == before
        assert err.startswith("kvscope: ")
        assert err.endswith("\n")
        sentence = err[len("kvscope: ") : -1]
        assert sentence.isprintable(), "one line, which does not steer the terminal"
        return sentence


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    return Refused(capsys)


def told(sentence: str) -> str:
    return sentence.replace("{here}", os.getcwd())


@pytest.mark.parametrize(("argv", "sentence"), COMMANDS, ids=[ascii(" ".join(argv))[:60] for argv, _ in COMMANDS])
def test_commands(argv: list[str], sentence: str, refused: Refused) -> None:
    assert refused(*argv) == told(sentence)


@pytest.mark.parametrize("file", SCENARIOS)
def test_scenarios(file: str, refused: Refused) -> None:
    assert refused("simulate", file) == told(SCENARIOS[file])


@pytest.mark.parametrize("file", SCENARIOS)
def test_scenarios_that_are_checked(file: str, refused: Refused) -> None:
    assert refused("scenario", "check", file) == told(SCENARIOS[file])


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_assignments(assignment: str, refused: Refused) -> None:
    assert refused("simulate", "--set", assignment) == told(ASSIGNMENTS[assignment])


@pytest.mark.parametrize("trace", TRACES)
def test_traces(trace: str, refused: Refused) -> None:
    assert refused("trace", "info", trace) == TRACES[trace]
    assert refused("simulate", "--trace", trace) == f"{os.getcwd()}/{TRACES[trace]}"


@pytest.fixture
def _bound_by_permissions(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Files that must not be read and folders that must not be written to, and for root another user's rights."""
    with TemporaryDirectory() as place:
        monkeypatch.chdir(place)
        write_files()
        for name in ("good.toml", "late.jsonl"):
            os.chmod(name, 0)
        os.chmod("folder", 0o555)
        root = not os.geteuid()
        if root:
            os.chmod(place, 0o777)
            assert main(["simulate", "--set", "workload.requests=1", "--out", "before"]) == 0  # imports what it needs
            os.seteuid(65534)
        capsys.readouterr()
        try:
            yield
        finally:
            if root:
                os.seteuid(0)
            os.chmod("folder", 0o755)


@pytest.mark.usefixtures("_bound_by_permissions")
def test_permissions(refused: Refused) -> None:
    denied = "permission denied"
    for argv, sentence in (
        (["simulate", "good.toml"], f"good.toml: cannot be read: {denied}"),
        (["scenario", "check", "good.toml"], f"good.toml: cannot be read: {denied}"),
        (["trace", "info", "late.jsonl"], f"late.jsonl: cannot be read: {denied}"),
        (["simulate", "--trace", "late.jsonl"], f"{{here}}/late.jsonl: cannot be read: {denied}"),
        (["simulate", "--out", "folder/new"], f"folder/new: cannot be written: {denied}"),
        (["simulate", "--out", "folder/new/deeper"], f"folder/new/deeper: cannot be written: {denied}"),
        (["simulate", "--out", "folder", "--force"], f"folder: cannot be written: {denied}"),
        (["simulate", "--steps", "folder/log"], f"folder/log: cannot be written: {denied}"),
        (["scenario", "new", "--out", "folder/a.toml"], f"folder/a.toml: cannot be written: {denied}"),
    ):
        assert refused(*argv) == told(sentence)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["simulate", "/dev/zero"], "/dev/zero: longer than 1 MiB, so it is no scenario"),
        (["scenario", "check", "/dev/zero"], "/dev/zero: longer than 1 MiB, so it is no scenario"),
        (["scenario", "new", "--out", "/dev/null"], "/dev/null: exists already; choose another file with --out"),
        (["trace", "info", "/dev/zero"], "/dev/zero: is a device, and a trace is a file or a folder"),
        (["simulate", "--trace", "/dev/zero"], "/dev/zero: is a device, and a trace is a file or a folder"),
        (["simulate", "--out", "/dev/null"], "/dev/null: is no folder, and results need one there"),
        (["simulate", "loop.toml"], "loop.toml: cannot be read: too many levels of symbolic links"),
        (["trace", "info", "loop.toml"], "loop.toml: cannot be read: too many levels of symbolic links"),
        (["simulate", "--out", "loop.toml"], "loop.toml: is no folder, and results need one there"),
        (["scenario", "new", "loop"], "loop.toml: exists already; choose another file with --out"),
    ],
    ids=lambda argv: " ".join(argv) if isinstance(argv, list) else "",
)
def test_devices_and_links(argv: list[str], sentence: str, refused: Refused) -> None:
    Path("loop.toml").symlink_to("loop.toml")
    assert refused(*argv) == sentence


@pytest.mark.parametrize("argv", [["simulate"], ["simulate", "--steps", "log"], ["scenario", "new"]])
def test_a_full_disk(argv: list[str], refused: Refused) -> None:
    """A file must not grow beyond 100 bytes, in the place of a disk that is full."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); "
    program = limit + "import sys; from app.cli import main; sys.exit(main())"
    before = contents(Path())
    done = subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 2
    assert re.fullmatch(r"kvscope: (results|log|scenario.toml): cannot be written: file too large\n", done.stderr)
    assert contents(Path()) == before


def die(_: object) -> None:
    os._exit(1)


def test_a_measurement_that_is_killed(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_run", die)
    said = "the run that is measured was killed, perhaps for want of memory"
    assert refused("benchmark", "simulate", "--runs", "1") == said

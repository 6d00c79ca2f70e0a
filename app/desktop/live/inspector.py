"""What is chosen, explained: a block with its owner, its tokens, its prefix and its life, or a request with its own."""

from html import escape

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QTextBrowser

from app.desktop import theme
from app.desktop.live.colouring import hue_of
from app.jobs.history import History
from app.jobs.told import State, Status
from simcore.record.journal import Event
from simcore.record.sequences import Kind

MOST = 60
_WORDS = {
    Event.ALLOCATE: "taken from the free blocks",
    Event.HIT: "found by its content, one more holds it",
    Event.REGISTER: "full: in the prefix cache from now on",
    Event.EVICT: "evicted: its content is forgotten",
    Event.FREE: "let go of",
    Event.COPY: "a copy was made into it",
    Event.SWAP_OUT: "its content went to the host",
    Event.SWAP_IN: "content came back into it",
    Event.PRUNE: "what pruning left was packed into it",
}
_STATES = {
    Status.WAITING: "waits in the queue",
    Status.PREFILL: "runs: its prompt is computed",
    Status.DECODE: "runs: it gets a token in every step",
    Status.PREEMPTED: "was preempted, and waits to come back",
    Status.ENDED: "has finished",
    Status.REFUSED: "was refused",
}


class Inspector(QTextBrowser):
    """A page of text with links to blocks, requests and steps."""

    block_chosen = Signal(int)
    request_chosen = Signal(int)
    step_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setOpenLinks(False)
        self.setAccessibleName("What is chosen")
        self.anchorClicked.connect(self._follow)
        self._told = ""
        self.show_nothing()

    def show_nothing(self) -> None:
        """Nothing is chosen."""
        self._show(
            "<p><b>Nothing is chosen.</b></p><p>Click a block of the grid to see who holds it, what is in it, and all "
            "that ever happened to it. Click a row of a table to see a request: its blocks light up.</p>"
        )

    def show_block(self, history: History, state: State, block: int) -> None:
        """A block while a step ran."""
        step, size = state.step, history.facts.block_size
        refs, filled, key = int(state.refs[block]), int(state.filled[block]), int(state.key[block])
        holders = history.holders(block, step) if refs else []
        owner = int(state.owner[block])
        parts = [_title(f"Block {block}", hue_of(history.row_of(owner)) if refs else None)]
        parts.append(f"<p>{self._explain(history, state, block, holders)}</p>")
        facts = [("held by", ", ".join(self._request(history, holder) for holder in holders) or "nobody")]
        if refs:
            facts.append(("entry of its table", f"{int(state.place[block]) + 1}" if history.facts.tables == 1 else "-"))
        facts.append(("tokens", f"{filled} of {size}" if refs or key else "none"))
        facts.append(("prefix cache", f"key {key:x}" if key else "not in it"))
        if state.origin[block] and (refs or key):
            tiers = history.facts.tiers
            facts.append(("content from", tiers[int(state.origin[block]) - 1] if tiers else "the host"))
        if state.touched[block] >= 0:
            age = step - int(state.touched[block])
            facts.append(("last event", f"{age:,} steps ago" if age else "in this step"))
        parts.append(_facts(facts))
        chain = history.chain(block, step, state)
        if len(chain) > 1:
            links = " &rarr; ".join(
                f"<b>{b}</b>" if b == block else f'<a href="block:{b}">{b}</a>' for b, _ in chain[-24:]
            )
            before = "... &rarr; " if len(chain) > 24 else ""
            parts.append(_heading("Prefix that leads here" if key else "Blocks of its request up to here"))
            parts.append(f"<p>{before}{links}</p>")
            if key:
                parts.append(
                    f"<p style='color:{theme.current().muted}'>Its key names all {len(chain) * size:,} tokens from the "
                    "beginning to the end of this block: whoever begins with the same tokens finds it.</p>"
                )
        life = history.of_block(block, step)
        parts.append(_heading(f"Its life: {len(life):,} events"))
        rows = []
        for entry in reversed(life[-MOST:]):
            who = self._request(history, entry.sequence) if entry.sequence >= 0 else ""
            more = f" from block {entry.other}" if entry.event == Event.COPY else ""
            link = f'<a href="step:{entry.step}">{entry.step:,}</a>'
            rows.append(
                f"<tr><td align=right>{link}&nbsp;</td><td>{_WORDS[entry.event]}{more}&nbsp;</td><td>{who}</td></tr>"
            )
        parts.append(f"<table cellspacing=2 width='100%'>{''.join(rows)}</table>")
        self._show("".join(parts))

    def show_request(self, history: History, state: State, row: int) -> None:
        """A request while a step ran."""
        step = state.step
        sequences = history.sequences(step)
        mine = [i for i in range(len(sequences.row)) if sequences.row[i] == row]
        name = escape(history.facts.id_of(row))
        parts = [_title(f"Request {name}", hue_of(row))]
        moments = history.of_request(row, step)
        if not mine:
            refused = any(moment.kind == Kind.REFUSE for moment in moments)
            parts.append(
                "<p>It was refused: it could never be served.</p>" if refused else "<p>It has not arrived yet.</p>"
            )
        prompt = history.prompt_of(row)
        for sequence in mine[-16:]:
            status = Status(int(sequences.status[sequence]))
            label = f"Branch {sequence - mine[0]} " if len(mine) > 1 else "It "
            parts.append(f"<p>{label}{_STATES[status]}.</p>")
            if status in (Status.WAITING, Status.PREEMPTED):
                parts.append(f"<p><b>Why it waits:</b> {escape(history.why_waits(sequence, step))}</p>")
            elif status in (Status.PREFILL, Status.DECODE):
                table = history.tables(step, [sequence])[sequence]
                shared = int((state.refs[table] > 1).sum())
                tokens = int(sequences.tokens[sequence])
                facts = [
                    (
                        "tokens",
                        f"{tokens:,} computed, {prompt:,} of them prompt"
                        if tokens > prompt
                        else f"{tokens:,} of {prompt:,}",
                    ),
                    ("blocks", f"{len(table):,}" + (f", {shared:,} of them shared" if shared else "")),
                ]
                parts.append(_facts(facts))
                links = " ".join(
                    f'<a href="block:{b}">{b}</a>' + ("&bull;" if state.refs[b] > 1 else "")
                    for b in table[:120].tolist()
                )
                parts.append(f"<p>{links}{' ...' if len(table) > 120 else ''}</p>")
        parts.append(_heading("Its timeline"))
        rows = []
        for moment in moments[-MOST:]:
            link = f'<a href="step:{moment.step}">{moment.step:,}</a>'
            rows.append(
                f"<tr><td align=right>{link}&nbsp;</td><td align=right>{moment.seconds:.3f} s&nbsp;</td>"
                f"<td>{_moment(moment.kind, moment.tokens, moment.end)}</td></tr>"
            )
        parts.append(f"<table cellspacing=2>{''.join(rows)}</table>")
        self._show("".join(parts))

    def _explain(self, history: History, state: State, block: int, holders: list[int]) -> str:
        refs, filled, key = int(state.refs[block]), int(state.filled[block]), int(state.key[block])
        size = history.facts.block_size
        if refs > 1:
            return (
                f"<b>Shared.</b> {refs} requests begin with the same tokens, so this block is stored once for all of "
                "them. It is freed when the last one lets go."
            )
        if refs == 1 and not filled:
            return (
                "<b>Reserved.</b> Its request holds it, and has no token in it yet; nobody else can use it meanwhile."
            )
        if refs == 1:
            name = self._request(history, holders[0] if holders else int(state.owner[block]))
            rest = "It is full." if filled >= size else f"{size - filled} slots of it are still empty."
            tokens = "1 token" if filled == 1 else f"{filled} tokens"
            return f"<b>In use.</b> It holds the keys and values of {tokens} of {name}. {rest}"
        if key:
            return (
                "<b>Cached.</b> Nobody uses it now, but what is in it is remembered: a request that begins with the "
                "same tokens gets it without computing. It is evicted when its room is needed."
            )
        return "<b>Free.</b> There is nothing in it."

    def _request(self, history: History, sequence: int) -> str:
        row = history.row_of(sequence)
        if row < 0:
            return ""
        return f'<a href="request:{row}">{escape(history.facts.id_of(row))}</a>'

    def _follow(self, url: QUrl) -> None:
        kind, _, number = url.toString().partition(":")
        signal = {"block": self.block_chosen, "request": self.request_chosen, "step": self.step_chosen}[kind]
        signal.emit(int(number))

    def _show(self, html: str) -> None:
        if html == self._told:
            return
        self._told = html
        at = self.verticalScrollBar().value()
        self.document().setDefaultStyleSheet(f"a {{ color: {theme.current().accent}; text-decoration: none; }}")
        self.setHtml(html)
        self.verticalScrollBar().setValue(at)


def _title(text: str, hue: str | None) -> str:
    mark = f"<span style='color:{QColor(hue).name()}'>&#9632;</span> " if hue else ""
    return f"<p style='font-size:13pt'><b>{mark}{text}</b></p>"


def _heading(text: str) -> str:
    return f"<p style='color:{theme.current().muted}; margin-bottom:2px'><b>{text}</b></p>"


def _facts(facts: list[tuple[str, str]]) -> str:
    muted = theme.current().muted
    rows = "".join(
        f"<tr><td style='color:{muted}'>{name}&nbsp;&nbsp;</td><td>{value}</td></tr>" for name, value in facts
    )
    return f"<table cellspacing=2>{rows}</table>"


def _moment(kind: Kind, tokens: int, end: int) -> str:
    match kind:
        case Kind.ARRIVE:
            return f"arrived with a prompt of {tokens:,} tokens"
        case Kind.REFUSE:
            return "refused: it could never be served"
        case Kind.OPEN:
            return f"admitted; {tokens:,} tokens need not be computed" if tokens else "admitted"
        case Kind.CHUNK:
            return f"{tokens:,} tokens of its prompt are computed"
        case Kind.DECODE:
            return f"its prompt is done ({tokens:,} tokens); a token a step from here on"
        case Kind.PRUNE:
            return f"pruned: {end:,} of its tokens are gone"
        case Kind.PREEMPT:
            return "<b>preempted</b>: it gave its blocks back"
        case _:
            return f"finished with {tokens:,} tokens" if end != -1 else "dropped: another beam is better"

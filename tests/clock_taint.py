"""Which statements of a notebook's cells depend on a clock: taint that spreads from timing functions through variables.

A name is tainted when an expression that was assigned to it (or put into it) holds a call of CLOCKS, a tainted name, or a
key that names a rate (`r["decode_tokens_per_second"]`). Sizes, codes and scores are not, so a name that is assigned
anew is clean again. A cell's function is tainted when its body is.
"""

import ast

CLOCKS = {
    "perf_counter", "monotonic", "process_time", "thread_time", "time", "getloadavg", "Timer", "timeit",
    "measure", "interleaved", "load", "bandwidth", "read_bandwidth", "arithmetic", "measure_crossover", "last_win",
    "prefill_speed", "decode_speed", "prefill_speeds", "decode_speeds", "fastest",
}  # fmt: skip
CHANGES = {"append", "extend", "insert", "add", "update", "setdefault"}


def called(node: ast.AST) -> str | None:
    """The last word of what a call calls: `measure` for `roofline.measure(…)`."""
    if not isinstance(node, ast.Call):
        return None
    return getattr(node.func, "attr", None) or getattr(node.func, "id", None)


def base(target: ast.expr) -> str | None:
    """The variable behind a target: `rows` for `rows[0].x`."""
    while isinstance(target, ast.Subscript | ast.Attribute | ast.Starred):
        target = target.value
    return target.id if isinstance(target, ast.Name) else None


class Taint:
    """Read cells in order with `cell`; `found` are (what, source line) of asserts and prints that depend on a clock."""

    def __init__(self):
        self.names: set[str] = set()
        self.own: set[str] = set()  # functions that the cells define: a `measure` of theirs is judged by its body
        self.found: list[tuple[str, str]] = []

    def tainted(self, node: ast.AST) -> bool:
        for n in ast.walk(node):
            if isinstance(n, ast.Name) and n.id in self.names:
                return True
            name = called(n)
            others = name == "load" and base(n.func) not in ("load", "roofline")  # tl.load, json.load
            if name in CLOCKS and not others and not (isinstance(n.func, ast.Name) and n.func.id in self.own):
                return True
            if isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value.endswith("_per_second"):
                return True
        return False

    def assign(self, target: ast.expr, dirty: bool) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for t in target.elts:
                self.assign(t, dirty)
        elif dirty and base(target):
            self.names.add(base(target))
        elif isinstance(target, ast.Name):
            self.names.discard(target.id)

    def put(self, node: ast.AST) -> None:
        """What an expression puts into a name: `(t := …)`, `rows.append(…)`."""
        for n in ast.walk(node):
            if isinstance(n, ast.NamedExpr) and self.tainted(n.value):
                self.names.add(n.target.id)
            if called(n) in CHANGES and isinstance(n.func, ast.Attribute) and any(map(self.tainted, n.args)):
                self.assign(n.func.value, True)

    def note(self, node: ast.AST, within: bool) -> None:
        """Asserts (of either kind), raises and prints inside one simple statement."""
        for n in ast.walk(node):
            name = called(n)
            checks = isinstance(n, ast.Assert) or (name or "").startswith("assert_")
            if (checks or name == "print") and (within or self.tainted(n)) or isinstance(n, ast.Raise) and within:
                self.found.append(("print" if name == "print" else "assert", ast.unparse(n)))

    def statement(self, node: ast.stmt, within: bool = False) -> None:
        if isinstance(node, ast.FunctionDef):
            (self.names.add if self.tainted(node) else self.names.discard)(node.name)
            self.own.add(node.name)
            return
        blocks = [getattr(node, f, []) for f in ("body", "orelse", "finalbody")]
        if any(blocks):
            head = [getattr(node, f) for f in ("test", "iter") if hasattr(node, f)]
            dirty = any(map(self.tainted, head))
            for expression in head:
                self.put(expression)
            if isinstance(node, ast.For):
                self.assign(node.target, dirty)
            for _ in range(2):  # what a loop's end taints, its beginning reads
                for inner in (s for block in blocks for s in block):
                    self.statement(inner, within or dirty)
            return
        self.note(node, within)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            for target in getattr(node, "targets", [getattr(node, "target", None)]):
                kept = isinstance(node, ast.AugAssign) and base(target) in self.names
                self.assign(target, kept or within or self.tainted(node.value))
        self.put(node)

    def cell(self, source: str) -> list[tuple[str, str]]:
        """What this cell asserts or prints, after all cells before it."""
        self.found = []
        for node in ast.parse(source).body:
            self.statement(node)
        return list(dict.fromkeys(self.found))

"""What the text of a program compiled for a GPU says about its cost: counts, no times."""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

# What starts no kernel.
_FREE = (
    *("parameter", "constant", "iota", "bitcast", "tuple", "get-tuple-element", "opt-barrier"),
    *("after-all", "partition-id", "replica-id", "add-dependency"),
)
_FLOATS = ("bf16", "f16", "f32", "f64")
_HALF = ("bf16", "f16")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{\s*$")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_SHAPE = re.compile(r"\b(bf16|pred|[sufc]\d+)\[([\d,]*)\]")


class Instruction(NamedTuple):
    """One line of a computation. rest: what follows the opening parenthesis."""

    name: str
    type: str
    op: str
    rest: str

    @property
    def operands(self) -> list[str]:
        """Names, in order."""
        return re.findall(r"%([\w.\-]+)", self.rest.split(")")[0])

    def called(self, attribute: str) -> str:
        """The computation that an attribute such as `body` names."""
        match = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.rest)
        assert match, f"{self.name}: no {attribute} in {self.rest[:200]}"
        return match.group(1)

    def numbers(self, pattern: str) -> list[int]:
        """The numbers of a list such as {0,1} or ["0","1"] that `pattern` ends before."""
        match = re.search(pattern + r"[\[{]([\d\",]*)[\]}]", self.rest)
        return [int(x) for x in re.findall(r"\d+", match.group(1))] if match else []


@dataclasses.dataclass
class Counts:
    """Of one run of the program.

    Attributes:
        kernels: launched, each as often as the loops around it repeat it.
        wide_flops: of products whose operands are not both bfloat16 or float16.
        half_flops: of those whose operands are.
        loops: repeated more than once, by their names.
        float_sorts: sorts that compare or carry floats.
        colliding_scatters: scatters of floats whose indices need not differ.
        custom_calls: their targets, as often as they run.
    """

    kernels: int = 0
    wide_flops: float = 0.0
    half_flops: float = 0.0
    loops: list[str] = dataclasses.field(default_factory=list)
    float_sorts: list[str] = dataclasses.field(default_factory=list)
    colliding_scatters: list[str] = dataclasses.field(default_factory=list)
    custom_calls: list[str] = dataclasses.field(default_factory=list)


def counts(text: str) -> Counts:
    """Of the optimised program `text`, as `jax.stages.Compiled.as_text` gives it."""
    computations, entry = _computations(text)
    result = Counts()
    _walk(computations, entry, 1, result)
    return result


def _computations(text: str) -> tuple[dict[str, dict[str, Instruction]], str]:
    """name -> its instructions by name, and the name of the one that is run."""
    computations: dict[str, dict[str, Instruction]] = {}
    entry, body = "", {}
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            body = computations[match.group(2)] = {}
            entry = match.group(2) if match.group(1) else entry
        elif match := _INSTRUCTION.match(line):
            instruction = Instruction(*match.groups())
            body[instruction.name] = instruction
    assert entry, "this is no optimised program"
    return computations, entry


def _walk(
    computations: dict[str, dict[str, Instruction]], name: str, times: int, result: Counts
) -> None:
    for each in computations[name].values():
        if each.op in _FREE:
            continue
        if each.op == "while":
            trips = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', each.rest)
            number = int(trips.group(1)) if trips else 1
            # A loop of unknown length is counted once, and named.
            if trips is None or number > 1:
                result.loops.append(each.name)
            _walk(computations, each.called("body"), times * number, result)
            continue
        if each.op == "conditional":
            branches = re.search(r"branch_computations=\{%?([\w.\-]+)", each.rest)
            first = branches.group(1) if branches else each.called("true_computation")
            _walk(computations, first, times, result)
            continue
        if each.op == "call":
            _walk(computations, each.called("to_apply"), times, result)
            continue
        if each.op in ("async-start", "async-done"):
            if each.op == "async-start":
                _walk(computations, each.called("calls"), times, result)
            continue
        result.kernels += times
        for inner, table in _within(computations, each, computations[name]):
            _count(inner, table, times, result)


def _within(
    computations: dict[str, dict[str, Instruction]],
    each: Instruction,
    table: dict[str, Instruction],
) -> Iterator[tuple[Instruction, dict[str, Instruction]]]:
    """An instruction, or those of a fusion, each with the computation that it stands in."""
    if each.op != "fusion":
        yield each, table
        return
    body = computations[each.called("calls")]
    for inner in body.values():
        yield from _within(computations, inner, body)


def _count(each: Instruction, table: dict[str, Instruction], times: int, result: Counts) -> None:
    operands = [_shape(table[name].type) for name in each.operands if name in table]
    if each.op == "sort" and any(dtype in _FLOATS for dtype, _ in _shapes(each.type)):
        result.float_sorts.append(each.name)
    elif each.op == "scatter":
        if operands[0][0] in _FLOATS and "unique_indices=true" not in each.rest:
            result.colliding_scatters.append(each.name)
    elif each.op == "dot":
        contracted = each.numbers("lhs_contracting_dims=")
        _add_product(_shape(each.type), operands, contracted, times, result)
    elif each.op == "custom-call":
        match = re.search(r'custom_call_target="([^"]*)"', each.rest)
        target = match.group(1) if match else ""
        result.custom_calls += [target] * times
        if target.startswith("__cublas$"):
            contracted = each.numbers('"lhs_contracting_dimensions":')
            _add_product(_shape(each.type), operands, contracted, times, result)


def _add_product(
    out: tuple[str, list[int]],
    operands: list[tuple[str, list[int]]],
    contracted: list[int],
    times: int,
    result: Counts,
) -> None:
    """`contracted`: axes of the first operand that are summed over."""
    summed = math.prod(operands[0][1][axis] for axis in contracted)
    flops = 2.0 * times * math.prod(out[1]) * summed
    if all(dtype in _HALF for dtype, _ in operands[:2]):
        result.half_flops += flops
    else:
        result.wide_flops += flops


def _shapes(text: str) -> list[tuple[str, list[int]]]:
    """Element types and sizes of a type, which may be a tuple."""
    return [(dtype, [int(n) for n in dims.split(",") if n]) for dtype, dims in _SHAPE.findall(text)]


def _shape(text: str) -> tuple[str, list[int]]:
    return _shapes(text)[0] if _shapes(text) else ("", [])

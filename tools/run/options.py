"""The options of `optimize`, each declared once: what it may hold, its default, and what people are told about it.

The command line (`parameters.py`) and the Python function (`api.py`) are made from this. Importing it costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from bevel.backends.backend import LogicMode
from bevel.backends.program.resources import Resource, Resources
from bevel.backends.select.objective import OBJECTIVES
from bevel.calib.data.select import rule_names
from bevel.calib.rounding import rounder_names
from bevel.tools.accuracy.metrics.metric import METRICS
from bevel.tools.run import parsers
from bevel.tools.run.budgets import CANDIDATES, RESULTS, SENSITIVITIES, SOLVERS, Budgets
from bevel.tools.run.declared import METADATA, Option, Parsed, Real, Whole, check_plain
from bevel.tools.run.parsers import Constants, Dims, File, States

if TYPE_CHECKING:
    from bevel.tools.run.parsers import Held, Samples

EdgeFormat = Literal["float", "quantized"]
InputFormat = Literal["float", "quantized", "uint8"]

ROUNDINGS = ("auto", *rounder_names())
RANGE_METHODS = ("auto", "mse", "minmax", "percentile", "entropy")
RECIPES = "default: the recipe's."
ROWS = ("auto", "on", "off")
RULES = rule_names()
EDGES, INPUTS, LOGIC_MODES = get_args(EdgeFormat), get_args(InputFormat), get_args(LogicMode)

COUNT = Whole(1, 2**31 - 1)
SEED = Whole(0, 2**63 - 1)


def told(
    help: str | None = None,
    metavar: str | None = None,
    *,
    choices: tuple[str, ...] = (),
    within: Whole | Real | None = None,
    sets: str | None = None,
) -> Mapping[str, Option]:
    """The metadata of a field."""
    return {METADATA: Option(help, metavar, choices=choices, within=within, sets=sets)}


@dataclass(frozen=True)
class Options:
    """One run of `optimize`. Raises UserError for what an option cannot hold."""

    model: Path
    _: KW_ONLY
    target: str = field(metadata=told("What the model shall run on; see `bevel targets`.", "NAME"))
    calib: Parsed[Samples | None, Held | Literal["random"] | None] = Parsed(
        parsers.samples_or_random,
        Option("Calibration samples: .npz, .npy or a folder; `random` guesses.", "FILE|random"),
        None,
    )
    calib_samples: int | None = field(
        default=None, metadata=told("Only the first N of --calib; default: all.", "N", within=COUNT)
    )
    calib_select: str | None = field(
        default=None,
        metadata=told("Choose N of all of --calib, by what is deep inside.", choices=RULES),
    )
    eval: Parsed[Samples | None, Held | None] = Parsed(
        parsers.samples, Option("Samples to measure accuracy on, `y` if labelled.", "FILE", file=True), None
    )
    eval_samples: int | None = field(
        default=None, metadata=told("Only the first N of --eval; default: all.", "N", within=COUNT)
    )
    metric: str | None = field(
        default=None,
        metadata=told("What accuracy is, on --eval; default: top1 with labels, or sqnr.", choices=tuple(METRICS)),
    )
    metric_script: Parsed[File | None, Path | None] = Parsed(
        parsers.maybe_path, Option("Your own: a file with `def metric(outputs, y)`.", "FILE.py", file=True), None
    )
    output: Parsed[File, Path] = Parsed(
        parsers.path, Option("Folder to write; whole or not at all.", "OUT", short="-o", file=True)
    )
    batch: int = field(default=1, metadata=told("Size of a dynamic batch dimension.", within=COUNT))
    dim: Parsed[Mapping[str, int] | Sequence[str] | Dims, Dims] = Parsed(
        parsers.dims, Option("Size of another dynamic dimension.", "NAME=N", repeated=True), ()
    )
    constant: Parsed[Mapping[str, Any] | Sequence[str] | Constants, Constants] = Parsed(
        parsers.constants,
        Option("Make a constant of an input; what asks for it is folded.", "INPUT=VALUE", repeated=True),
        (),
    )
    recipe: str = field(default="int8", metadata=told("How to quantize; see `bevel recipes`.", "NAME|FILE.toml"))
    weights: str | None = field(
        default=None,
        metadata=told(f"int2..int8, uint4, ternary, e2m1, ..; {RECIPES}", "FORMAT", sets="assign-schemes.weights"),
    )
    activations: str | None = field(
        default=None,
        metadata=told(
            "Likewise, of all but results; float32: quantize weights alone.",
            "FORMAT",
            sets="assign-schemes.activations",
        ),
    )
    product_inputs: str | None = field(
        default=None,
        metadata=told("Likewise, of what products by weights read.", "FORMAT", sets="assign-schemes.product_inputs"),
    )
    input_format: str | None = field(
        default=None,
        metadata=told(
            "Likewise, of the model's inputs; default: --activations, but int8 at least.",
            "FORMAT",
            sets="assign-schemes.input_format",
        ),
    )
    row_scales: str | None = field(
        default=None,
        metadata=told(f"A scale for each row of these; {RECIPES}", choices=ROWS, sets="row-scales.rows"),
    )
    format_file: Parsed[File | None, Path | None] = Parsed(
        parsers.maybe_path,
        Option("TOML: [[node]] tables with match, weights, activations.", "FILE", file=True),
        None,
    )
    max_flash: Parsed[int | str | None, int | None] = Parsed(
        parsers.size, Option("Choose a format per node so that the product fits; most accurate.", "SIZE"), None
    )
    max_latency: Parsed[str | Resources | None, Resources | None] = Parsed(
        parsers.latency, Option("Likewise: 2ms, 500us, or instructions as 300ki, 3Mi.", "TIME|COUNT"), None
    )
    min_accuracy: float | None = field(
        default=None,
        metadata=told("Least share of right answers (or AUC) on --eval; smallest.", "0..1", within=Real(0.0, 1.0)),
    )
    max_drop: float | None = field(
        default=None,
        metadata=told("Loss of the metric at most: percentage points, or percent.", "POINTS", within=Real(0.0, 100.0)),
    )
    min_sqnr: float | None = field(default=None, metadata=told("Least SQNR on --eval.", "DB", within=Real(0.0)))
    objective: str = field(
        default="balanced",
        metadata=told("What kernels are chosen for: time, flash, or both.", choices=tuple(OBJECTIVES)),
    )
    isa: str | None = field(
        default=None,
        metadata=told("Loops for these instruction sets only, such as avx512vnni,avx2; default: all.", "LIST"),
    )
    threads: int = field(
        default=1, metadata=told("Of CPUs: how many threads may share a run.", "N", within=Whole(1, 64))
    )
    formats: Parsed[str | Sequence[str] | None, tuple[str, ...]] = Parsed(
        parsers.formats,
        Option(f"Formats to choose from; default: {','.join(CANDIDATES)}, and of results {','.join(RESULTS)}.", "LIST"),
        (),
    )
    activation_formats: Parsed[str | Sequence[str] | None, tuple[str, ...]] = Parsed(
        parsers.formats, Option("Likewise, of results alone.", "LIST"), ()
    )
    sensitivity: str = field(default="sqnr", metadata=told("What a format loses.", choices=SENSITIVITIES))
    solver: str = field(default="milp", metadata=told("Who chooses formats within budgets.", choices=SOLVERS))
    range: str | None = field(
        default=None,
        metadata=told(f"Of activations; {RECIPES}", choices=RANGE_METHODS, sets="assign-schemes.range"),
    )
    rounding: str | None = field(
        default=None,
        metadata=told(
            f"Who rounds weights; auto: the best for each node; {RECIPES}",
            choices=ROUNDINGS,
            sets="round-weights.rounding",
        ),
    )
    bias_correction: bool = field(default=True, metadata=told("Leave the mean error of quantized weights in."))
    transform: str = field(
        default="auto",
        metadata=told("Rewrites that flatten ranges: auto (those that help), none, or names.", "auto|none|NAME,.."),
    )
    pass_option: Parsed[str | Sequence[str], tuple[str, ...]] = Parsed(
        parsers.names, Option("Any option of a pass of the recipe.", "PASS.OPTION=VALUE", repeated=True), ()
    )
    switchable: Parsed[str | Sequence[int] | None, tuple[int, ...]] = Parsed(
        parsers.widths, Option("Widths of int8 weights that the product can change to.", "8,6,4,2"), ()
    )
    inputs: InputFormat = field(
        default="float", metadata=told("Element type of the inputs; uint8: pixels of 0 to 255.", choices=INPUTS)
    )
    outputs: EdgeFormat = field(default="float", metadata=told("Element type of the outputs.", choices=EDGES))
    outputs_at: Parsed[str | Sequence[str], tuple[str, ...]] = Parsed(
        parsers.names, Option("Cut the model at this tensor or node; may be repeated.", "NAME", repeated=True), ()
    )
    state: Parsed[Mapping[str, str] | Sequence[str] | States, States] = Parsed(
        parsers.states,
        Option("An input that the run before gives out; none: none by its name.", "IN=OUT", repeated=True),
        (),
    )
    step: bool = field(default=False, metadata=told("Compute what is new in each step, of a model over time."))
    time_axis: str | None = field(
        default=None, metadata=told("The axis that --step goes along; default: the longest that it can.", "[INPUT:]N")
    )
    time_padding: Literal["keep", "drop"] = field(
        default="keep",
        metadata=told("Drop padding along --step's axis: what padded reads the stream.", choices=("keep", "drop")),
    )
    cache: str | None = field(
        default=None,
        metadata=told("Keys and values that --step keeps; default: int8, or --activations.", "FORMAT[/FORMAT]"),
    )
    device: str | None = field(
        default=None,
        metadata=told("Where to measure; default: the target's first that works here.", "NAME|none"),
    )
    vectors: int = field(default=8, metadata=told("Inputs compared on the device.", within=COUNT))
    flash: Parsed[int | str | None, int | None] = Parsed(
        parsers.size, Option("Flash of your part (512k, 2M) in place of the target's.", "SIZE"), None
    )
    ram: Parsed[int | str | None, int | None] = Parsed(
        parsers.size, Option("RAM of your part in place of the target's.", "SIZE"), None
    )
    max_ram: Parsed[int | str | None, int | None] = Parsed(
        parsers.size, Option("Keep arena, stack and static data within SIZE, in bands of rows.", "SIZE"), None
    )
    max_lut: int | None = field(
        default=None, metadata=told("Of programmable logic: lookup tables at most.", "N", within=COUNT)
    )
    max_dsp: int | None = field(default=None, metadata=told("Likewise, multiplier blocks.", "N", within=COUNT))
    max_bram: int | None = field(default=None, metadata=told("Likewise, memory blocks.", "N", within=COUNT))
    folding: Parsed[File | None, Path | None] = Parsed(
        parsers.maybe_path, Option("Likewise, a folding.json in place of a search.", "FILE", file=True), None
    )
    logic_mode: LogicMode = field(
        default="auto",
        metadata=told("Likewise, all nodes at once, or one unit and weights from memory.", choices=LOGIC_MODES),
    )
    synthesize: bool = field(default=False, metadata=told("Likewise, count resources by Yosys, beside the estimates."))
    tune: int | None = field(
        default=None, metadata=told("Measure N candidates for each kernel, keep the best.", "N", within=COUNT)
    )
    tune_database: Parsed[File | None, Path | None] = Parsed(
        parsers.maybe_path, Option("What --tune found before; default: in your cache.", "FILE", file=True), None
    )
    name: str | None = field(
        default=None, metadata=told("C name of the model; default: from the file name.", "IDENTIFIER")
    )
    seed: int = field(default=0, metadata=told("For everything drawn at random.", within=SEED))
    command: str = ""  # as typed, for the manifest

    def __post_init__(self) -> None:
        check_plain(self)

    @property
    def calib_read(self) -> int | None:
        """How many samples of --calib are read at most."""
        return self.calib_samples if self.calib_select is None else None

    @property
    def sources(self) -> tuple[Path, ...]:
        """The user's files that a run reads."""
        recipe = Path(self.recipe) if self.recipe.endswith(".toml") else None
        given = (self.model, self.calib, self.eval, self.metric_script, self.format_file, self.folding, recipe)
        return tuple(path for path in given if isinstance(path, Path))

    @property
    def budgets(self) -> Budgets:
        drop = None if self.max_drop is None else self.max_drop / 100
        flash = {} if self.max_flash is None else {Resource.FLASH: self.max_flash}
        found = Budgets(Resources(flash) | (self.max_latency or {}), self.min_accuracy, drop, self.min_sqnr)
        return found.with_ram(self.max_ram) if found.given or self.formats or self.activation_formats else found

    @property
    def memory(self) -> Resources:
        """What the user's part has in place of the target's."""
        given = ((Resource.FLASH, self.flash), (Resource.RAM, self.ram))
        return Resources({name: size for name, size in given if size is not None})

    @property
    def logic(self) -> Resources:
        """What there is of programmable logic, in place of all of the target's."""
        given = ((Resource.LUT, self.max_lut), (Resource.DSP, self.max_dsp), (Resource.BRAM, self.max_bram))
        return Resources({name: count for name, count in given if count is not None})


def edge(inputs: InputFormat) -> EdgeFormat:
    """What becomes of float inputs: those that take uint8 are integers of their own already."""
    return "quantized" if inputs == "quantized" else "float"

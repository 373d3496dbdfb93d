"""The bundle's Makefile: simulate, lint and synthesize without Bevel."""

from __future__ import annotations

from bevel.backends.fpga.design import Design

MAKEFILE = """\
# make simulate   the test bench in Verilator, on the vectors of tb/, and whether its results are right
# make lint       Verilator's warnings
# make synthesize resources of a part of the 7 series by Yosys
TOP = {top}
RTL = $(sort $(wildcard rtl/*.v))
LINT = -Wall -Wno-UNUSEDSIGNAL -Wno-DECLFILENAME

.PHONY: simulate lint synthesize
simulate: obj_dir/bench
\tcd mem && cp ../tb/*.in . && ../obj_dir/bench
\tcd mem && for f in ../tb/*.expected; do cmp $$f $$(basename $$f .expected).out || exit 1; done

obj_dir/bench: $(RTL) tb/bench.cpp
\tverilator --cc --exe --build -O3 -DBEVEL_BENCH -Wno-fatal -Wno-lint --top-module $(TOP) $(RTL) tb/bench.cpp -o bench

lint:
\tverilator --lint-only $(LINT) --top-module $(TOP) $(RTL)

synthesize:
\tcd mem && yosys -q -p "read_verilog -sv -defer $(addprefix ../,$(RTL)); hierarchy -top $(TOP); \\
\t  synth_xilinx -family xc7 -noiopad -noclkbuf; tee -o ../resources.txt stat"
"""


def makefile(design: Design) -> str:
    return MAKEFILE.format(top=design.top)

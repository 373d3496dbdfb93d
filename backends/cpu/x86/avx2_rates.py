"""What kernels spend where there is AVX2 and nothing beyond it: those of x86, and the plain loops that they are chosen
beside. Seconds, as `python -m bevel.tools.bench.rates --target host` measured them on an AMD EPYC of the first Zen
generation, on one thread.
"""

from __future__ import annotations

from bevel.backends.cpu.x86.add_vectors import AddVectors
from bevel.backends.cpu.x86.depthwise import Depthwise
from bevel.backends.cpu.x86.dots import Dots
from bevel.backends.cpu.x86.mat_mul_pairs import MatMulPairs
from bevel.backends.cpu.x86.normalize_rows import NormalizeRows
from bevel.backends.cpu.x86.pair_dots import PairDots
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.coded_conv import CodedConv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.tir.rates import Table
from bevel.backends.tir.rules.bitplane_conv import BitplaneConv

AVX2_RATES: Table = {
    Dots: Rates(mac=2e-11, output=1.8e-9, byte=5e-11, call=4e-8, code=4000, unit=Resource.LATENCY),
    Depthwise: Rates(mac=1.3e-10, byte=1.2e-10, code=3000, unit=Resource.LATENCY),
    PairDots: Rates(mac=5.8e-11, output=4.5e-10, call=4e-8, code=4000, unit=Resource.LATENCY),
    MatMulPairs: Rates(mac=6e-11, output=1.1e-9, call=2.5e-7, code=3000, unit=Resource.LATENCY),
    AddVectors: Rates(input=2.3e-10, call=2.1e-8, code=400, unit=Resource.LATENCY),
    NormalizeRows: Rates(input=2.2e-9, call=3e-8, code=1500, unit=Resource.LATENCY),
    Conv: Rates(mac=1.7e-10, output=8.7e-9, code=2000, unit=Resource.LATENCY),
    Gemm: Rates(mac=2e-10, output=5.6e-9, call=6e-8, code=1300, unit=Resource.LATENCY),
    CodedConv: Rates(mac=1.8e-10, output=6.2e-9, code=3300, unit=Resource.LATENCY),
    BitplaneConv: Rates(output=4.1e-9, besides=4.2e-10, code=2000, unit=Resource.LATENCY),
    MatMul: Rates(mac=2.9e-10, output=5.2e-10, call=2e-8, code=4300, unit=Resource.LATENCY),
    Add: Rates(input=2.6e-10, call=3e-8, code=440, unit=Resource.LATENCY),
}

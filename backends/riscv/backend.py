"""RISC-V microcontrollers: plain loops in C, and firmware."""

from bevel.backends.firmware.bare import Bare

BACKEND = Bare()

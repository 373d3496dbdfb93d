"""Runs that threads share, as C: parts of calls as functions of a number, whoever runs them, and a pool that does.

<model>.h          the interface: a run on any pool, and the pool that comes with the model
<model>.c          the run: what is one call goes to the caller, parts go to the pool
<model>_threads.c  the pool: POSIX threads and C11 atomics
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import groupby

from bevel.backends.program.program import Program


def has_teams(program: Program) -> bool:
    return any(call.team is not None for call in program.calls)


def header_section(program: Program) -> str:
    """The interface. Nothing for programs whose calls are whole."""
    if not has_teams(program):
        return ""
    name, most = program.name, max(last - first + 1 for first, last in program.teams)
    return f"""
/* Runs that threads share. Results do not depend on how many there are, nor on which of them computes what.
 *
 * A `{name}_parallel_for` calls body(context, 0) .. body(context, count - 1), each once, in any order, on any
 * threads, at the same time or not, and returns once all have returned. `threads` is what it needs, such as a pool of
 * the application's own. No count is above {name.upper()}_THREADS.
 *
 *   struct {name}_threads *pool = {name}_threads_start({most});       the caller's thread and {most - 1} more
 *   {program.entry}_on(arena, {name}_threads_run, pool);          in place of {program.entry}(arena)
 *   {name}_threads_stop(pool);
 *
 * A pool serves one run at a time. Its threads wait busily for a moment, then sleep; on Linux they are woken on other
 * cores than the caller's, of those that they may use. `{name}_threads_start` answers 0 where there is no memory; where
 * the system has no more threads, the pool has fewer. */
#define {name.upper()}_THREADS {most}
typedef void (*{name}_parallel_for)(void *threads, int count, void (*body)(void *context, int index), void *context);
void {program.entry}_on(void *arena, {name}_parallel_for run, void *threads);
struct {name}_threads;
struct {name}_threads *{name}_threads_start(int count);
void {name}_threads_run(void *threads, int count, void (*body)(void *context, int index), void *context);
void {name}_threads_stop(struct {name}_threads *threads);
"""


def runs(program: Program, statements: Sequence[str]) -> str:
    """The functions of teams, the run on a pool, and the run of the caller alone."""
    name, functions, lines = program.name, [], []
    for (first, last), group in groupby(zip(program.teams, statements, strict=True), key=lambda one: one[0]):
        parts = [text for _, text in group]
        if first == last:
            lines += parts
            continue
        functions.append(team(f"{name}_team_{first}", parts))
        lines.append(f"  run(threads, {len(parts)}, {name}_team_{first}, base);")
    several = "\n".join(lines)
    return f"""{"".join(functions)}
void {program.entry}_on(void *arena, {name}_parallel_for run, void *threads) {{
  uint8_t *const base = arena;
{several}
}}

static void {name}_alone(void *threads, int count, void (*body)(void *context, int index), void *context) {{
  (void)threads;
  for (int index = 0; index < count; index++) body(context, index);
}}

void {program.entry}(void *arena) {{
  {program.entry}_on(arena, {name}_alone, 0);
}}
"""


def team(symbol: str, parts: Sequence[str]) -> str:
    """A function that runs one of some statements, by its number."""
    cases = "\n".join(f"  case {index}:\n{text}\n  break;" for index, text in enumerate(parts))
    return f"""
static void {symbol}(void *context, int index) {{
  uint8_t *const base = context;
  switch (index) {{
{cases}
  default: break;
  }}
}}
"""


def pool_source(program: Program) -> dict[str, str]:
    """{{file: text}} of the pool, if the program needs one."""
    if not has_teams(program):
        return {}
    text = files(__package__).joinpath("threads.c").read_text(encoding="utf-8")
    return {f"{program.name}_threads.c": text.replace("MODEL", program.name).replace("LIMIT", program.name.upper())}


def exported(program: Program) -> tuple[str, ...]:
    """What a shared library shows of it."""
    if not has_teams(program):
        return ()
    return f"{program.entry}_on", *(f"{program.name}_threads_{verb}" for verb in ("start", "run", "stop"))

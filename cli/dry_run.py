# SPDX-License-Identifier: Apache-2.0
"""What `geodit train --dry-run` prints."""

from typing import TYPE_CHECKING

from geodit.cli.output import plain, results_console

if TYPE_CHECKING:
    from rich.table import Table

    from geodit.trainers.runs.dry_run import DryRun


def print_dry_run(planned: "DryRun") -> None:
    """Print parameters, updates and memory, one table each."""
    console = results_console()
    console.print(parameters_table(planned), updates_table(planned), memory_table(planned))
    if not planned.data.exact:
        counted = f"{planned.data.counted_rows:,} of {planned.data.rows:,}" if planned.data.rows else "the first"
        console.print(f"Tokens are estimated from {counted} rows.", highlight=False)


def parameters_table(planned: "DryRun") -> "Table":
    """Build a table of the parameters of each part of the model, and how many of them are trained."""
    from rich.table import Table

    table = Table("part", title=plain(f"{planned.recipe}: {planned.model}"), title_justify="left")
    table.add_column("parameters", justify="right")
    table.add_column("trained", justify="right")
    counts = planned.parameters.values()
    for part, count in planned.parameters.items():
        table.add_row(part, f"{count.total:,}", f"{count.trainable:,}")
    table.add_section()
    table.add_row("all", f"{sum(c.total for c in counts):,}", f"{sum(c.trainable for c in counts):,}")
    return table


def updates_table(planned: "DryRun") -> "Table":
    """Build a table of rows, tokens, updates and epochs."""
    from rich.table import Table

    data, updates = planned.data, planned.updates
    about = "" if data.exact else "about "
    table = Table("data", "")
    table.columns[1].justify = "right"
    table.add_row("rows", "a stream" if data.rows is None else f"{data.rows:,}")
    table.add_row("rows per update", f"{updates.rows_per_update:,}")
    table.add_row("tokens per update", f"about {updates.tokens_per_update:,.0f}")
    table.add_row("tokens in total", f"{about}{updates.tokens:,}")
    table.add_row("tokens of the longest row", f"{data.longest_row:,}")
    table.add_row("updates", f"{updates.steps:,}")
    if updates.epochs is not None:
        table.add_row("epochs", f"{updates.epochs:.3g}")
    return table


def memory_table(planned: "DryRun") -> "Table":
    """Build a table of memory on one device, with and without activation checkpointing, the recipe's choice first."""
    from rich.table import Table

    columns = {"activations kept": planned.memory_kept, "layers checkpointed": planned.memory_checkpointed}
    unit, name_of_unit = (1e9, "GB") if planned.memory_kept.peak >= 1e9 else (1e6, "MB")

    def size(number: int) -> str:
        return f"{number / unit:,.2f} {name_of_unit}"

    names = sorted(columns, key=lambda name: columns[name] is not planned.memory)
    table = Table("memory of one device", *names)
    for column in table.columns[1:]:
        column.justify = "right"
    for component in planned.memory.sizes:
        table.add_row(f"maximum of {component}", *(size(columns[name].sizes[component]) for name in names))
    table.add_section()
    table.add_row("maximum of the sum", *(size(columns[name].peak) for name in names))
    return table

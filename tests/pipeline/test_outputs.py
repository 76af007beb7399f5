"""Each output table is declared, filled and verified: none can be forgotten."""

from recsvc.pipeline.outputs import OUTPUTS
from recsvc.store.contract.tables import OUTPUT_TABLES, metadata
from recsvc.store.runs import outputs


def test_every_output_table_is_declared_for_verification() -> None:
    assert tuple(each.table for each in outputs.OUTPUTS) == OUTPUT_TABLES


def test_every_declared_table_is_filled_in_the_order_of_the_declarations() -> None:
    assert tuple(each.into for each in OUTPUTS) == outputs.OUTPUTS


def test_every_table_that_is_partitioned_by_run_is_an_output_table() -> None:
    partitioned = {
        table.name
        for table in metadata.tables.values()
        if table.dialect_options["postgresql"]["partition_by"]
    }
    assert {table.name for table in OUTPUT_TABLES} == partitioned


def test_phases_are_told_apart() -> None:
    assert len({each.what for each in OUTPUTS}) == len(OUTPUTS)

"""What tests ask of the output tables, for as many of them as there are."""

from recsvc.store.contract.tables import OUTPUT_TABLES

#: Rows of a run, ``:run``, in all of them.
ROWS_OF_RUN = "SELECT " + " + ".join(
    f"(SELECT count(*) FROM {table.name} WHERE run_id = :run)" for table in OUTPUT_TABLES
)
#: Rows of runs that readers can neither see nor roll back to.
LEFTOVERS = "SELECT " + " + ".join(
    f"(SELECT count(*) FROM {table.name} WHERE run_id NOT IN"
    " (SELECT run_id FROM runs WHERE status = 'published' AND pruned_at IS NULL))"
    for table in OUTPUT_TABLES
)
#: Where a run can fall while it writes one of them.
MOMENTS_OF_WRITING = [
    f"write:{table.name}:{moment}" for table in OUTPUT_TABLES for moment in ("copied", "attached")
]

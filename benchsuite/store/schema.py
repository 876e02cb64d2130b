"""The columns of the run's tables, as Arrow schemas; and older tables brought up to them."""

from __future__ import annotations

import pyarrow as pa

from benchsuite.records import SCHEMA_VERSION, GpuSample, RequestRecord, ServerSample

GPU, SERVER = "gpu", "server"

_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(
        ["run_id", "point_id", "request_id", "prompt_id", "scenario", "token_source", "stamp_source"], pa.string()
    ),
    **dict.fromkeys(["finish_reason", "status", "error", "response_id", "text"], pa.string()),
    **dict.fromkeys(["scheduled_s", "sent_s", "headers_s", "first_token_s", "first_answer_s"], pa.float64()),
    **dict.fromkeys(["last_token_s", "closed_s"], pa.float64()),
    **dict.fromkeys(["server_queue_s", "server_prefill_s", "server_decode_s"], pa.float64()),
    "endpoint": pa.string(),
    "chunk_gap_us": pa.list_(pa.int32()),
    "connection_reused": pa.bool_(),
}
SCHEMA = pa.schema(
    [pa.field(name, _TYPES.get(name, pa.int32())) for name in RequestRecord._fields],
    metadata={"benchsuite.schema": str(SCHEMA_VERSION)},
)
COLUMN_TYPES = [None if field.name == "chunk_gap_us" else field.type for field in SCHEMA]
_SAMPLE_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(["source", "uuid", "endpoint", "error"], pa.string()),
    **dict.fromkeys(["memory_used_bytes", "memory_total_bytes", "throttle_reasons"], pa.int64()),
    **dict.fromkeys(["sm_clock_mhz", "memory_clock_mhz", "n_processes", "foreign_processes"], pa.int32()),
}
SAMPLE_SCHEMAS = {
    name: pa.schema(
        [pa.field(column, _SAMPLE_TYPES.get(column, pa.float64())) for column in record._fields],
        metadata={"benchsuite.schema": str(SCHEMA_VERSION)},
    )
    for name, record in ((GPU, GpuSample), (SERVER, ServerSample))
}
DICTIONARY_COLUMNS = [
    field.name for field in SCHEMA if field.type == pa.string() and field.name not in ("request_id", "response_id")
]


def at_current_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with every column of `schema` in its order, null where it has none, and unknown ones kept behind.

    A row that does not say its attempt is of the first.
    """
    columns = []
    for field in schema:
        if field.name in table.column_names:
            columns.append(table[field.name])
        elif field.name == "attempt":
            columns.append(pa.array([0] * table.num_rows, field.type, from_pandas=False))
        else:
            columns.append(pa.nulls(table.num_rows, field.type))
    unknown = [name for name in table.column_names if name not in schema.names]
    whole = pa.table([*columns, *(table[name] for name in unknown)], names=[*schema.names, *unknown])
    return whole.replace_schema_metadata(table.schema.metadata)

"""What every table of the specification is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A frozen table that knows its keys and takes no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

"""Query parameters that more than one operation takes."""

from typing import Final

from orchestrator.api.query import NumberParameter, TextParameter
from orchestrator.model.cluster import INVENTORY_TYPE

MAX_RUNS: Final = 1_000
DEFAULT_RUNS: Final = 20

INVENTORY_TYPE_FILTER: Final = TextParameter(
    name="inventory_type",
    description="Only what is of this type; there is one.",
    example=INVENTORY_TYPE,
    choices=(INVENTORY_TYPE,),
)
CONTEXT: Final = TextParameter(
    name="context", description="Only what is in this context: `<cluster_name>/<namespace>`.", example="prod/web"
)
IMAGE_DIGEST: Final = TextParameter(
    name="image_digest",
    description="Only images of this digest; `unknown` for those that kai gave no digest for.",
    example="sha256:570db2ee4d8d0e9e5c2b1b0b7b6f3c9a1e4f5d6c7b8a99887766554433221100",
)
RUNS_LIMIT: Final = NumberParameter(
    name="limit", description=f"How many at most; {DEFAULT_RUNS} unless given.", example=20, low=1, high=MAX_RUNS
)

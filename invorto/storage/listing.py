"""What a list's request may say: pages within bounds, sorting from a table, text to search that means itself."""

from __future__ import annotations

from collections.abc import Mapping

from invorto.errors import Fault, Invalid

MOST = 100
"""Rows a page."""
_LAST_PAGE = 1_000_000


def window(page: int, limit: int) -> tuple[int, int]:
    """Give LIMIT and OFFSET of a *page*, counted from one; `Invalid` out of bounds."""
    faults: list[Fault] = []
    if not 1 <= page <= _LAST_PAGE:
        faults.append(Fault("$.page", f"must be from 1 to {_LAST_PAGE}"))
    if not 1 <= limit <= MOST:
        faults.append(Fault("$.limit", f"must be from 1 to {MOST}"))
    if faults:
        raise Invalid("; ".join(f"{fault.path}: {fault.message}" for fault in faults), faults)
    return limit, (page - 1) * limit


def order(columns: Mapping[str, str], sort_by: str, sort_order: str) -> str:
    """Give what stands after ORDER BY; *columns* has the names that may be sorted by. `Invalid` for others."""
    if sort_by not in columns:
        raise Invalid(f"cannot sort by {sort_by!r}", [Fault("$.sortBy", f"must be one of {', '.join(columns)}")])
    if sort_order not in {"asc", "desc"}:
        raise Invalid(f"cannot sort {sort_order!r}", [Fault("$.sortOrder", "must be asc or desc")])
    return f"{columns[sort_by]} {sort_order} NULLS LAST, id {sort_order}"


def pattern(search: str | None) -> str | None:
    """Give *search* as a pattern for ILIKE that finds it anywhere."""
    if not search:
        return None
    escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"

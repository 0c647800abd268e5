"""Facts: PostgreSQL and Redis behind a thin seam, one file per noun."""

"""Ground floor: which grid, which granularity, which scale. Pure torch; knows no bytes and no layers."""

"""The core: a replica becomes an operator table, the table a few constants, and a compiled kernel turns points into seconds, bytes and watts."""

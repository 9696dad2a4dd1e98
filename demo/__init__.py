"""The whole pipeline on one machine: real PostgreSQL, the DAG's own pod specifications, local processes."""

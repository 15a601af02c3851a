//! Kind `tcp`.

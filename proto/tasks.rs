//! Columns of tasks.

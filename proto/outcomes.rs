//! Columns of outcomes.

//! What the mesh tells of itself, and what is made of it: rules, alerts, dashboards.

mod alerts;
mod rules;

//! The one door to Postgres: pool, connections of their own, migrations.

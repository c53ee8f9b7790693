//! The processes of a build: supervisor, worker, clean-up.

//! Processes kept apart from the host, with nothing left of them when they end.
//!
//! A process with threads cannot enter a user or mount namespace, and forking one is unsound. So a
//! program that uses this crate executes itself in hidden [`Role`](supervisor::Role)s: its `main`
//! calls [`enter_role`](supervisor::enter_role) before anything else.
//!
//! [`supervisor`] starts a worker in namespaces of its own, and cleans up after it, whatever happens
//! to either. [`sandbox`] runs programs of another system, with its tree as their root.

pub mod sandbox;
pub mod supervisor;

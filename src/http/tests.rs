//! The HTTP edge over a scripted node.

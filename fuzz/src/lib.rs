//! One plain function for each fuzz target; the targets are thin wrappers.

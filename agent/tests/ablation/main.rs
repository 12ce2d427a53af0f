//! For each safety mechanism one test that fails without it.

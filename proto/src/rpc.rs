//! The calls of the contract, by name: made from its files when this crate is built.

include!(concat!(env!("OUT_DIR"), "/rpc.rs"));

impl Rpc {
    /// The call at `path`; `None`: the contract has none there.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|call| call.path() == path)
    }
}

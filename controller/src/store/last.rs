//! What was read last, kept until it may have changed: looks of a large fleet ask the same again and again.

use std::sync::Arc;

/// What was read last, and at which version of it.
#[derive(Debug)]
pub(super) struct Last<T, V = u64>(tokio::sync::Mutex<Option<(V, Arc<T>)>>);

impl<T, V> Default for Last<T, V> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::new(None))
    }
}

impl<T, V: PartialEq> Last<T, V> {
    /// What was read last where it is of this version still, and what `read` answers otherwise.
    ///
    /// `version` is asked before anything is read: what is committed while it is being read makes that an old one. Who
    /// comes while it is being read waits for the same answer.
    pub(super) async fn or_read<E>(
        &self,
        version: impl FnOnce() -> V,
        read: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let mut last = self.0.lock().await;
        let version = version();
        if let Some((_, known)) = last.as_ref().filter(|(at, _)| *at == version) {
            return Ok(known.clone());
        }
        let found = Arc::new(read().await?);
        *last = Some((version, found.clone()));
        Ok(found)
    }
}

//! Each scenario and variant with real processes and few messages.

mod corrupt_message;
mod fleet;
mod sent_not_removed;
mod silent_loss;
mod stuck_message;
mod stuck_outbound;

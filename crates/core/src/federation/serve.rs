//! A connection that another server has opened, from its first byte to its end.

use std::sync::Arc;

use crate::federation::session;
use crate::server::Server;
use crate::stream::server::incoming::accept;
use crate::stream::wire::Wire;

/// Serves a connection of another server until it ends. `known` is called when the server is verified
/// for a domain.
pub async fn serve(server: Arc<Server>, wire: Box<dyn Wire>, known: Box<dyn FnOnce() + Send>) {
    // What negotiates is large and ends before the long-lived part begins.
    if let Some(established) = Box::pin(accept(server.clone(), wire)).await {
        known();
        session::run(server, established).await;
    }
}

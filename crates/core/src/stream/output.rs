//! What a stream's one task is writing: a buffer that exists only while bytes are in flight.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::mailbox::spare;
use crate::stream::wire::Wire;

/// Bytes on their way to the peer.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    written: usize,
}

impl Output {
    /// Bytes that are to go out first.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, written: 0 }
    }

    /// Takes bytes over when there are none.
    pub fn replace(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
        self.written = 0;
    }

    /// Puts bytes behind those that wait.
    pub fn say(&mut self, text: &[u8]) {
        self.buffer().extend_from_slice(text);
    }

    /// The buffer, to be written into.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = spare::take();
        }
        &mut self.bytes
    }

    /// How many bytes it holds, written ones among them.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All bytes, those that were written too.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes what has not been written.
    pub fn take_left(&mut self) -> Vec<u8> {
        let left = self.bytes.split_off(self.written.min(self.bytes.len()));
        self.bytes.clear();
        self.written = 0;
        left
    }

    /// Writes all; ready with whether that was anything when nothing is left.
    pub fn poll_write(
        &mut self,
        wire: &mut Box<dyn Wire>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        while let Some(left) = self.bytes.get(self.written..).filter(|left| !left.is_empty()) {
            match ready!(Pin::new(&mut *wire).poll_write(context, left)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.written = self.written.saturating_add(count),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if self.written == 0 {
            return Poll::Ready(Ok(false));
        }
        ready!(Pin::new(wire).poll_flush(context))?;
        spare::give(std::mem::take(&mut self.bytes));
        self.written = 0;
        Poll::Ready(Ok(true))
    }
}

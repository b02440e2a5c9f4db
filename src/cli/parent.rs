//! A child that ends with its parent, however the parent ends.
//!
//! The parent holds the writing end of a pipe that is the child's stdin. When the parent is gone the kernel closes that
//! end, even after kill -9, and the child reads the end of its input. (`PR_SET_PDEATHSIG` would do it too, but setting
//! it between fork and exec takes unsafe code, and it follows the parent's thread instead of its process.)

use std::io::Read;

use super::signals::PARENT_GONE;

/// From now on this process is told to stop in order when its stdin ends.
pub(super) fn end_with_it() {
    let watch = || {
        let mut sink = [0; 64];
        let mut stdin = std::io::stdin().lock();
        loop {
            match stdin.read(&mut sink) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        PARENT_GONE.notify_one();
    };
    let thread = std::thread::Builder::new().name("parent".to_owned()).spawn(watch);
    if let Err(error) = thread {
        tracing::warn!("cannot watch stdin: {error}: this node will outlive its parent");
    }
}

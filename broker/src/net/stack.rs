//! Returns the part of a thread's stack that it does not need now to the system.
//!
//! What a connection does only now and then reaches deeper than where it waits: encryption by TLS, frames of WebSocket,
//! packets of MQTT. The pages that were touched there stay for the life of the thread. Measured with an idle
//! subscriber inside of TLS: four pages instead of two.

#[cfg(target_os = "linux")]
use std::mem::MaybeUninit;

/// Bytes below the variable of [`release_unused`] that stay: what is left of its own frame, and the frames of the
/// functions that it calls.
#[cfg(target_os = "linux")]
const OWN_BYTES: usize = 512;

/// Gives back the pages below the frame of the caller. They are zero, and taken again, when the thread comes there.
// Out of line: its frame has to lie below that of the caller, and is not to be a part of it.
#[cfg(target_os = "linux")]
#[inline(never)]
#[expect(
    unsafe_code,
    reason = "no library of this project gives back unused stack; without it an idle connection with TLS has half as \
              much memory again"
)]
pub(crate) fn release_unused() {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let here = (&raw const attributes).addr();
    let (mut lowest, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the three functions write into these variables alone, which they take as they are (`attributes` is
    // initialized by the first, and used only if that has succeeded). The handle is that of the running thread.
    let is_known = unsafe {
        libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) == 0 && {
            let known =
                libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            known == 0
        }
    };
    let page = rustix::param::page_size();
    let end = here.saturating_sub(OWN_BYTES) & !(page - 1);
    let is_within = (lowest.addr()..lowest.addr() + size).contains(&here);
    if !is_known || !is_within || end <= lowest.addr() {
        return;
    }
    // SAFETY: the range lies in the stack of this thread, as the system tells it, and more than `OWN_BYTES` below a
    // variable of this frame. The stack grows down, so all that is alive in this thread lies above; no other thread has a
    // reference to what lies below, because nothing there is alive. What is called from here needs fewer bytes than
    // `OWN_BYTES`: `madvise` is a system call, and a signal is handled before it or after it. The pages stay mapped.
    unsafe {
        // If it fails, the pages stay, as without it.
        let _ = libc::madvise(lowest, end - lowest.addr(), libc::MADV_DONTNEED);
    }
}

/// Other systems keep the pages.
#[cfg(not(target_os = "linux"))]
pub(crate) fn release_unused() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::hint::black_box;
    use std::thread;

    use super::*;

    const DEEP_BYTES: usize = 64 * 1024;

    /// Touches a part of the stack; returns where that lies.
    #[inline(never)]
    fn go_deep() -> usize {
        let bytes = black_box([7_u8; DEEP_BYTES]);
        bytes.as_ptr().addr()
    }

    /// Memory of this page that is resident, as the system tells.
    fn is_resident(address: usize) -> bool {
        let page = rustix::param::page_size();
        let map = std::fs::File::open("/proc/self/pagemap").expect("a map");
        let mut entry = [0; 8];
        let at = (address / page * 8) as u64;
        std::os::unix::fs::FileExt::read_exact_at(&map, &mut entry, at).expect("an entry");
        u64::from_ne_bytes(entry) >> 63 == 1
    }

    #[test]
    fn what_was_touched_below_is_given_back_and_what_is_alive_stays() {
        let thread = thread::Builder::new().stack_size(256 * 1024);
        let thread = thread.spawn(|| {
            let alive = black_box([3_u8; 10_000]);
            let deep = go_deep();
            assert!(is_resident(deep));
            for _ in 0..3 {
                release_unused();
                assert!(!is_resident(deep));
                assert_eq!(black_box(&alive), &[3; 10_000]);
                // It can go there again.
                assert_eq!(go_deep(), deep);
                assert!(is_resident(deep));
            }
        });
        thread.expect("a thread").join().expect("no panic");
    }
}

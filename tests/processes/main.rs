//! Real nodes as processes of their own: killed, started again, told to stop, given damaged disks.

mod by_hand;
mod damage;
mod kill;
mod stop;
mod support;

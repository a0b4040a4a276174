//! Who is at the other end of a Unix socket, beyond what the socket itself says.

use std::ffi::CString;

use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};

/// Returns the user that this process acts as.
#[must_use]
pub fn own_uid() -> u32 {
    geteuid().as_raw()
}

/// Returns whether a user, whose primary group is `gid`, is a member of `group`; asks the user database, so it may
/// block.
#[must_use]
pub fn is_member(uid: u32, gid: u32, group: u32) -> bool {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else {
        return false;
    };
    let Ok(name) = CString::new(user.name) else {
        return false;
    };
    getgrouplist(&name, Gid::from_raw(gid))
        .is_ok_and(|groups| groups.contains(&Gid::from_raw(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_in_the_primary_group() {
        assert!(is_member(0, 0, 0));
        assert!(!is_member(0, 0, 54_321));
    }
}

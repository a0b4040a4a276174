//! Who is at the other end of a Unix socket, beyond what the socket itself says.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};

/// Returns the user that this process acts as.
#[must_use]
pub fn own_uid() -> u32 {
    geteuid().as_raw()
}

/// Returns the number of a group, when there is such a group; asks the group database.
#[must_use]
pub fn group(name: &str) -> Option<u32> {
    let group = Group::from_name(name).ok().flatten()?;
    Some(group.gid.as_raw())
}

/// Returns the name of a user, or the number of one who has none.
#[must_use]
pub fn user_name(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid))
        .ok()
        .flatten()
        .map_or_else(|| format!("number {uid}"), |user| user.name)
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
    fn names_are_looked_up() {
        assert_eq!(group("root"), Some(0));
        assert_eq!(group("no-such-group-here"), None);
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(54_321), "number 54321");
    }

    #[test]
    fn a_user_is_in_the_primary_group() {
        assert!(is_member(0, 0, 0));
        assert!(!is_member(0, 0, 54_321));
    }
}

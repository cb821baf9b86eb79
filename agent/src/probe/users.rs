//! Who asks: many requests are of the same few.

use std::{collections::HashMap, mem::offset_of, sync::Arc};

use foldhash::fast::RandomState;
use kubewitness_wire as wire;

use super::decode::{DecodeError, Fields, SPAN, user};
use crate::{
    exchange::bounded::Bounded,
    observation::{SHARED_USERS, User},
};

/// The users that were told last: those who come again are not told again, or not put together again.
#[derive(Debug)]
pub struct Users {
    /// By what their records say of them.
    known: HashMap<Vec<u8>, Arc<User>, RandomState>,
    /// By the names of the records that told of them.
    told: Bounded<u64, Arc<User>>,
    unknown: Arc<User>,
    /// The name of the record that told of the last one who was asked for.
    last: u64,
    /// What the last one's record said, whose room the next one takes.
    key: Vec<u8>,
}

/// Users that are remembered by what is said of them, of 700 bytes each as a rule, and of 12 KiB at most. They are forgotten together.
const USERS: usize = SHARED_USERS;
/// Records of them that can be pointed to, those that were told or pointed to last: four times as many as the kernel programs point to at once.
/// Whoever is told with each request, as users by certificate are, pushes out nobody who is pointed to.
const TOLD: usize = 4096;

impl Default for Users {
    fn default() -> Self {
        Self { known: HashMap::default(), told: Bounded::new(TOLD), unknown: Arc::default(), last: 0, key: Vec::new() }
    }
}

impl Users {
    /// The user of a check that tells of them.
    pub(super) fn told(&mut self, check: Fields<'_>) -> Result<Arc<User>, DecodeError> {
        let user = self.of(check)?;
        self.last = check.u64(offset_of!(wire::Question, told))?;
        let _oldest = self.told.insert(self.last, Arc::clone(&user));
        Ok(user)
    }

    /// The user of a check that points to another one; nobody who is known if that was not seen.
    pub(super) fn told_before(&mut self, check: Fields<'_>) -> Result<Arc<User>, DecodeError> {
        self.last = check.u64(offset_of!(wire::Question, told))?;
        Ok(Arc::clone(self.told.get_mut(&self.last).unwrap_or(&mut self.unknown)))
    }

    /// The name of the record that told of the last user who was asked for.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// A request came of whoever was told of by the record of this name: they can be pointed to as if they had been just now.
    pub fn came_again(&mut self, name: u64) {
        let _known = self.told.get_mut(&name);
    }

    fn of(&mut self, check: Fields<'_>) -> Result<Arc<User>, DecodeError> {
        let mut start = size_of::<wire::Check>();
        for index in 0..wire::QuestionText::COUNT {
            start += usize::from(check.u16(offset_of!(wire::Question, spans) + SPAN * index)?);
        }
        // All that is told of the user: the fixed part behind the question, and the bytes behind those of the question's texts.
        let fixed = check.0.get(size_of::<wire::Question>()..size_of::<wire::Check>());
        let (Some(fixed), Some(texts)) = (fixed, check.0.get(start..)) else { return Err(DecodeError::Short(check.0.len())) };
        self.key.clear();
        self.key.extend_from_slice(fixed);
        self.key.extend_from_slice(texts);
        if let Some(user) = self.known.get(&self.key[..]) {
            return Ok(Arc::clone(user));
        }
        let user = Arc::new(user(check, start)?);
        if self.known.len() >= USERS {
            self.known.clear();
        }
        self.known.insert(self.key.clone(), Arc::clone(&user));
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        observation::Observation,
        probe::{Decoded, Told, decode},
    };

    /// The checks of the recorded trace.
    fn checks() -> Vec<Bytes> {
        let mut rest = Bytes::from_static(include_bytes!("../../tests/fixtures/trace-1.36.3.bin"));
        let mut records = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(rest[4..8].try_into().unwrap());
            records.push(rest.split_to(usize::try_from(length).unwrap()));
        }
        records.retain(|record| record[0] == wire::Kind::Check as u8);
        records
    }

    fn user_of(record: &Bytes, users: &mut Users) -> Arc<User> {
        match decode(record, users).unwrap() {
            Told::One(Decoded { observation: Observation::Check(_, check), .. }) => check.user,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_user_who_comes_again_is_the_same_and_no_other_is() {
        let (mut users, records) = (Users::default(), checks());
        assert!(records.len() > 2);
        for one in &records {
            for other in &records {
                let (first, second) = (user_of(one, &mut users), user_of(other, &mut users));
                assert_eq!(Arc::ptr_eq(&first, &second), first == second);
                assert_eq!(first, user_of(one, &mut Users::default()));
            }
        }
        // Whatever differs in what is told of a user makes another one.
        let record = &records[0];
        let known = user_of(record, &mut users);
        let name = memchr::memmem::find(record, b"system:serviceaccount:").unwrap();
        for at in (size_of::<wire::Question>()..size_of::<wire::Question>() + 4).chain(name..record.len()) {
            let mut changed = record.to_vec();
            changed[at] ^= 1;
            let changed = Bytes::from(changed);
            if let Ok(decoded) = decode(&changed, &mut users) {
                let Told::One(Decoded { observation: Observation::Check(_, check), .. }) = decoded else { panic!() };
                assert!(!Arc::ptr_eq(&check.user, &known), "byte {at}");
            }
        }
    }

    fn name_and_time(record: &Bytes) -> [u64; 2] {
        [offset_of!(wire::Question, told), offset_of!(wire::Header, time)]
            .map(|at| u64::from_ne_bytes(record[at..at + 8].try_into().unwrap()))
    }

    /// A check that points to another one.
    fn recheck(told: u64, time: u64) -> Bytes {
        let mut record = vec![0; size_of::<wire::Question>()];
        record[0] = wire::Kind::Recheck as u8;
        let length = u32::try_from(record.len()).unwrap();
        record[4..8].copy_from_slice(&length.to_ne_bytes());
        record[offset_of!(wire::Header, time)..][..8].copy_from_slice(&time.to_ne_bytes());
        record[offset_of!(wire::Question, told)..][..8].copy_from_slice(&told.to_ne_bytes());
        record.into()
    }

    #[test]
    fn a_check_that_points_to_one_before_is_of_its_user_and_else_of_nobody() {
        let mut users = Users::default();
        let record = &checks()[0];
        let [name, time] = name_and_time(record);
        assert_eq!(*user_of(&recheck(name, time + 1), &mut users), User::default());
        let told = user_of(record, &mut users);
        assert_eq!(user_of(&recheck(name, time + wire::TOLD_AGAIN - 1), &mut users), told);
        assert_eq!(*user_of(&recheck(name + 1, time + 1), &mut users), User::default());
        // Another check of the same request may come when the authorizer has answered at last; and others are told with each of their requests.
        for number in 0..3 * TOLD as u64 {
            let mut other = record.to_vec();
            other[offset_of!(wire::Question, told)..][..8].copy_from_slice(&number.to_ne_bytes());
            user_of(&other.into(), &mut users);
            if number % 1000 == 0 {
                assert_eq!(user_of(&recheck(name, time + 30 * wire::TOLD_AGAIN), &mut users), told, "{number}");
            }
        }
    }

    #[test]
    fn whoever_comes_again_is_pushed_out_by_nobody() {
        let mut users = Users::default();
        let record = &checks()[0];
        let [name, time] = name_and_time(record);
        let told = user_of(record, &mut users);
        assert_eq!(users.last(), name);
        for number in 0..2 * TOLD as u64 {
            let mut other = record.to_vec();
            other[offset_of!(wire::Question, told)..][..8].copy_from_slice(&number.to_ne_bytes());
            user_of(&other.into(), &mut users);
            users.came_again(name);
        }
        assert_eq!(user_of(&recheck(name, time + 1), &mut users), told);
    }

    #[test]
    fn they_are_bounded() {
        let mut users = Users::default();
        let record = &checks()[0];
        let name = memchr::memmem::find(record, b"system:serviceaccount:").unwrap();
        for number in 0..TOLD + USERS {
            let mut changed = record.to_vec();
            changed[name..name + 6].copy_from_slice(format!("{number:06}").as_bytes());
            changed[offset_of!(wire::Question, told)..][..8].copy_from_slice(&(number as u64).to_ne_bytes());
            assert!(user_of(&changed.into(), &mut users).name.known().unwrap().starts_with(&format!("{number:06}")));
        }
        assert!(users.known.len() <= USERS && users.told.len() <= TOLD);
    }
}

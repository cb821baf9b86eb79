//! Texts that fit a number of columns of a terminal. Pure.

use unicode_width::UnicodeWidthChar as _;

/// What stands for what was left out.
const GAP: char = '…';

/// How many columns a text takes, character by character: what terminals make of sequences differs.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|character| character.width().unwrap_or(0)).sum()
}

/// A text in exactly so many columns: filled up with spaces, or without its middle. Names differ at both ends.
pub(super) fn fit(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return pad(text.to_owned(), room);
    }
    let tail = room.saturating_sub(1) / 2;
    let end = last(text, tail);
    let begin = first(text, room.saturating_sub(1 + columns(end)));
    let mut cut = begin.to_owned();
    if room > 0 {
        cut.push(GAP);
    }
    cut.push_str(end);
    pad(cut, room)
}

/// A text in so many columns at most, without its end.
pub(super) fn cut(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let mut cut = first(text, room.saturating_sub(1)).to_owned();
    if room > 0 {
        cut.push(GAP);
    }
    cut
}

/// Words in so many columns at most; the first of them as far as there is room, and how many are left out.
pub(super) fn some(words: &[String], room: usize) -> String {
    let all = words.join(",");
    if columns(&all) <= room {
        return all;
    }
    for shown in (1..words.len()).rev() {
        let text = format!("{},+{}", words[..shown].join(","), words.len() - shown);
        if columns(&text) <= room {
            return text;
        }
    }
    match words {
        [] => String::new(),
        [only] => cut(only, room),
        [first, rest @ ..] => {
            let more = format!("+{}", rest.len());
            format!("{}{more}", cut(first, room.saturating_sub(more.len())))
        }
    }
}

fn pad(mut text: String, room: usize) -> String {
    let missing = room.saturating_sub(columns(&text));
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

/// As much of the beginning as has room.
fn first(text: &str, room: usize) -> &str {
    let mut taken = 0;
    let fits = |(_, character): &(usize, char)| {
        taken += character.width().unwrap_or(0);
        taken > room
    };
    let end = text.char_indices().find(fits).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// As much of the end as has room.
fn last(text: &str, room: usize) -> &str {
    let mut taken = 0;
    let mut begin = text.len();
    for (at, character) in text.char_indices().rev() {
        taken += character.width().unwrap_or(0);
        if taken > room {
            break;
        }
        begin = at;
    }
    &text[begin..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_lose_their_middle() {
        for (text, room, expected) in [
            ("agent", 8, "agent   "),
            ("monitoring/prometheus", 21, "monitoring/prometheus"),
            ("monitoring/prometheus", 12, "monito…theus"),
            ("monitoring/prometheus", 2, "m…"),
            ("monitoring/prometheus", 1, "…"),
            ("monitoring/prometheus", 0, ""),
            // Each of these takes two columns.
            ("漢字漢字漢字", 12, "漢字漢字漢字"),
            ("漢字漢字漢字", 8, "漢字…字 "),
            ("", 3, "   "),
        ] {
            assert_eq!(fit(text, room), expected, "{text} {room}");
        }
    }

    #[test]
    fn of_many_words_the_first_is_shown_and_the_rest_is_counted() {
        let words = ["unlogged-exec", "verb-bypass", "outside-rbac"].map(str::to_owned);
        for (count, room, expected) in [
            (0, 10, ""),
            (1, 13, "unlogged-exec"),
            (1, 12, "unlogged-ex…"),
            (2, 25, "unlogged-exec,verb-bypass"),
            (2, 24, "unlogged-exec,+1"),
            (2, 13, "unlogged-e…+1"),
            (3, 28, "unlogged-exec,verb-bypass,+1"),
            (3, 27, "unlogged-exec,+2"),
        ] {
            assert_eq!(some(&words[..count], room), expected, "{count} {room}");
        }
    }

    proptest! {
        #[test]
        fn nothing_takes_more_than_its_room(text in any::<String>(), room in 0usize..40) {
            let text = crate::inert::Inert(&text).to_string();
            prop_assert!(columns(&cut(&text, room)) <= room);
            prop_assert!(columns(&some(&[text.clone(), text.clone()], room)) <= room.max("+1".len()));
            prop_assert_eq!(columns(&fit(&text, room)), room);
        }
    }
}

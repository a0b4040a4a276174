//! The pages of `causeway explain`.

/// Each code with its page.
const PAGES: [(&str, &str); 53] = [
    ("E0101", include_str!("../../docs/errors/E0101.md")),
    ("E0102", include_str!("../../docs/errors/E0102.md")),
    ("E0103", include_str!("../../docs/errors/E0103.md")),
    ("E0104", include_str!("../../docs/errors/E0104.md")),
    ("E0105", include_str!("../../docs/errors/E0105.md")),
    ("E0106", include_str!("../../docs/errors/E0106.md")),
    ("E0107", include_str!("../../docs/errors/E0107.md")),
    ("E0108", include_str!("../../docs/errors/E0108.md")),
    ("E0109", include_str!("../../docs/errors/E0109.md")),
    ("E0201", include_str!("../../docs/errors/E0201.md")),
    ("E0202", include_str!("../../docs/errors/E0202.md")),
    ("E0203", include_str!("../../docs/errors/E0203.md")),
    ("E0204", include_str!("../../docs/errors/E0204.md")),
    ("E0205", include_str!("../../docs/errors/E0205.md")),
    ("E0206", include_str!("../../docs/errors/E0206.md")),
    ("E0207", include_str!("../../docs/errors/E0207.md")),
    ("E0208", include_str!("../../docs/errors/E0208.md")),
    ("E0209", include_str!("../../docs/errors/E0209.md")),
    ("E0210", include_str!("../../docs/errors/E0210.md")),
    ("E0211", include_str!("../../docs/errors/E0211.md")),
    ("E0212", include_str!("../../docs/errors/E0212.md")),
    ("E0213", include_str!("../../docs/errors/E0213.md")),
    ("E0214", include_str!("../../docs/errors/E0214.md")),
    ("E0215", include_str!("../../docs/errors/E0215.md")),
    ("E0301", include_str!("../../docs/errors/E0301.md")),
    ("E0302", include_str!("../../docs/errors/E0302.md")),
    ("E0303", include_str!("../../docs/errors/E0303.md")),
    ("E0304", include_str!("../../docs/errors/E0304.md")),
    ("E0312", include_str!("../../docs/errors/E0312.md")),
    ("E0401", include_str!("../../docs/errors/E0401.md")),
    ("E0402", include_str!("../../docs/errors/E0402.md")),
    ("E0403", include_str!("../../docs/errors/E0403.md")),
    ("E0404", include_str!("../../docs/errors/E0404.md")),
    ("E0405", include_str!("../../docs/errors/E0405.md")),
    ("E0406", include_str!("../../docs/errors/E0406.md")),
    ("E0501", include_str!("../../docs/errors/E0501.md")),
    ("E0502", include_str!("../../docs/errors/E0502.md")),
    ("E0503", include_str!("../../docs/errors/E0503.md")),
    ("E0504", include_str!("../../docs/errors/E0504.md")),
    ("E0701", include_str!("../../docs/errors/E0701.md")),
    ("E0702", include_str!("../../docs/errors/E0702.md")),
    ("E0703", include_str!("../../docs/errors/E0703.md")),
    ("E0704", include_str!("../../docs/errors/E0704.md")),
    ("E0705", include_str!("../../docs/errors/E0705.md")),
    ("E0706", include_str!("../../docs/errors/E0706.md")),
    ("E0707", include_str!("../../docs/errors/E0707.md")),
    ("E0801", include_str!("../../docs/errors/E0801.md")),
    ("E0802", include_str!("../../docs/errors/E0802.md")),
    ("E0803", include_str!("../../docs/errors/E0803.md")),
    ("E0804", include_str!("../../docs/errors/E0804.md")),
    ("E0805", include_str!("../../docs/errors/E0805.md")),
    ("E0806", include_str!("../../docs/errors/E0806.md")),
    ("E0807", include_str!("../../docs/errors/E0807.md")),
];

/// Returns the page of a code, in either case.
#[must_use]
pub fn explain(code: &str) -> Option<&'static str> {
    PAGES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(code))
        .map(|(_, page)| *page)
}

/// Goes through all codes.
pub fn codes() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(code, _)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    const ROOT: &str = env!("CARGO_MANIFEST_DIR");

    #[test]
    fn each_code_has_its_page_and_each_page_its_code() {
        let files: BTreeSet<_> = fs::read_dir(Path::new(ROOT).join("docs/errors"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let pages: BTreeSet<_> = codes().map(|code| format!("{code}.md")).collect();
        assert_eq!(files, pages);
        for (code, page) in PAGES {
            assert!(page.starts_with(&format!("# {code}: ")), "{code}");
            assert!(page.contains("\n## What to do\n"), "{code}");
        }
    }

    #[test]
    fn each_code_in_the_source_has_a_page_and_the_other_way_round() {
        let mut used = BTreeSet::new();
        let mut folders = vec![Path::new(ROOT).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("codes.rs") {
                    let text = fs::read_to_string(path).unwrap();
                    used.extend(
                        text.split('"')
                            .filter(|word| is_code(word))
                            .map(str::to_owned),
                    );
                }
            }
        }
        let known: BTreeSet<_> = codes().map(str::to_owned).collect();
        assert_eq!(used, known);
    }

    fn is_code(word: &str) -> bool {
        word.len() == 5
            && word.starts_with("E0")
            && word.bytes().skip(1).all(|b| b.is_ascii_digit())
    }

    #[test]
    fn a_code_is_explained_in_either_case() {
        assert!(explain("e0204").unwrap().contains("60 s"));
        assert!(explain("E9999").is_none());
    }
}

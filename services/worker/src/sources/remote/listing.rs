//! The answer of an S3-compatible store to `ListObjectsV2`.

use hashmesh::v1::ObjectIdentity;
use prost_types::Timestamp;
use quick_xml::{Reader, events::Event};

/// One answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) objects: Vec<ListedObject>,
    /// There is more.
    pub(super) truncated: bool,
    /// What asks for it; `None`: the store has said none.
    pub(super) next: Option<String>,
}

/// One object of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ListedObject {
    pub(super) key: Vec<u8>,
    /// As the store writes it; empty: it says none.
    pub(super) etag: String,
    pub(super) size: Option<u64>,
    /// As the store writes it, by RFC 3339.
    pub(super) modified: String,
}

impl ListedObject {
    /// What the object was, as far as it is said. `None`: not enough to tell it from another.
    pub(super) fn identity(&self) -> Option<ObjectIdentity> {
        let modify_time = self.modified.parse::<Timestamp>().ok()?;
        let etag = self.etag.clone();
        Some(ObjectIdentity { size: self.size?, etag, modify_time: Some(modify_time), ..ObjectIdentity::default() })
    }
}

/// What the store sent is no listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoListing;

impl Listing {
    /// Reads the document.
    pub(super) fn parse(document: &str) -> Result<Self, NoListing> {
        let mut reader = Reader::from_str(document);
        let mut listing = Self::default();
        let mut encoded = false;
        // The names of the elements that are open, as far down as is looked at.
        let (mut depth, mut contents, mut ended) = (0_usize, false, false);
        loop {
            match reader.read_event().map_err(|_| NoListing)? {
                Event::Start(element) => {
                    depth += 1;
                    let name = element.local_name();
                    match (depth, name.as_ref()) {
                        (1, "ListBucketResult") => {}
                        (1, _) => return Err(NoListing),
                        (2, "Contents") => {
                            contents = true;
                            listing.objects.push(ListedObject::default());
                        }
                        (2, field @ ("IsTruncated" | "NextContinuationToken" | "EncodingType")) => {
                            let field = field.to_owned();
                            let text = text(&mut reader)?;
                            depth -= 1;
                            match field.as_str() {
                                "IsTruncated" => listing.truncated = text == "true",
                                "EncodingType" => encoded = text == "url",
                                _ => listing.next = Some(text),
                            }
                        }
                        (3, field @ ("Key" | "ETag" | "Size" | "LastModified")) if contents => {
                            let field = field.to_owned();
                            let text = text(&mut reader)?;
                            depth -= 1;
                            let Some(object) = listing.objects.last_mut() else { continue };
                            match field.as_str() {
                                "Key" => object.key = text.into_bytes(),
                                "ETag" => object.etag = text,
                                "Size" => object.size = text.parse().ok(),
                                _ => object.modified = text,
                            }
                        }
                        _ => {}
                    }
                }
                Event::End(_) => {
                    depth = depth.checked_sub(1).ok_or(NoListing)?;
                    contents &= depth >= 2;
                    ended |= depth == 0;
                }
                Event::Eof if ended => break,
                Event::Eof => return Err(NoListing),
                _ => {}
            }
        }
        listing.objects.retain(|object| !object.key.is_empty());
        if encoded {
            listing.objects.iter_mut().for_each(|object| object.key = url_decoded(&object.key));
        }
        Ok(listing)
    }
}

/// An element's text, up to its end.
fn text(reader: &mut Reader<&[u8]>) -> Result<String, NoListing> {
    let mut text = String::new();
    loop {
        match reader.read_event().map_err(|_| NoListing)? {
            Event::Text(piece) => text.push_str(&piece),
            Event::CData(piece) => text.push_str(&piece),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|_| NoListing)? {
                Some(character) => text.push(character),
                None => text.push_str(match &*reference {
                    "amp" => "&",
                    "lt" => "<",
                    "gt" => ">",
                    "quot" => "\"",
                    "apos" => "'",
                    _ => return Err(NoListing),
                }),
            },
            Event::End(_) => return Ok(text),
            Event::Comment(_) => {}
            _ => return Err(NoListing),
        }
    }
}

/// As in a form: `+` is a space.
fn url_decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_encoding::percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_the_store_has_encoded_them() {
        let document = |encoding: &str| {
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <Name>bucket</Name><Prefix>a</Prefix><KeyCount>3</KeyCount><MaxKeys>3</MaxKeys>{encoding}\
                 <IsTruncated>true</IsTruncated><NextContinuationToken>1/x+=&amp;</NextContinuationToken>\
                 <Contents><Key>a+b%2Bc</Key><Size>1</Size><Owner><ID>x</ID><Key>no</Key></Owner></Contents>\
                 <Contents><Size>1</Size><Key>a&lt;&#233;&amp;amp;<![CDATA[<>]]></Key></Contents>\
                 <CommonPrefixes><Prefix>p</Prefix><Key>no</Key></CommonPrefixes>\
                 <Contents><Key/></Contents><Contents><Key>a/</Key></Contents>\
                 </ListBucketResult>"
            )
        };
        let plain = Listing::parse(&document("")).unwrap();
        let keys: Vec<&[u8]> = plain.objects.iter().map(|object| &*object.key).collect();
        assert_eq!(keys, [&b"a+b%2Bc"[..], "a<é&amp;<>".as_bytes(), b"a/"]);
        assert_eq!(plain.objects.iter().map(|object| object.size).collect::<Vec<_>>(), [Some(1), Some(1), None]);
        assert_eq!((plain.truncated, plain.next.as_deref()), (true, Some("1/x+=&")));
        let encoded = Listing::parse(&document("<EncodingType>url</EncodingType>")).unwrap();
        assert_eq!(encoded.objects[0].key, b"a b+c");
        let empty = Listing::parse("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>").unwrap();
        assert_eq!(empty, Listing::default());
    }

    #[test]
    fn what_an_object_was_is_read_where_the_store_says_all_of_it() {
        let listed = |fields: &str| {
            let document = format!("<ListBucketResult><Contents><Key>a</Key>{fields}</Contents></ListBucketResult>");
            Listing::parse(&document).unwrap().objects[0].identity()
        };
        let (etag, size) = ("<ETag>&quot;0a-2&quot;</ETag>", "<Size>7</Size>");
        let modified = "<LastModified>2026-11-22T01:02:03.456Z</LastModified>";
        let identity = listed(&format!("{size}{etag}{modified}<StorageClass>STANDARD</StorageClass>")).unwrap();
        assert_eq!((identity.size, identity.etag.as_str()), (7, "\"0a-2\""));
        assert_eq!(identity.modify_time.unwrap(), Timestamp { seconds: 1_795_309_323, nanos: 456_000_000 });
        assert_eq!(listed(&format!("{size}{modified}")).unwrap().etag, "");
        for lacking in [format!("{etag}{modified}"), format!("{size}{etag}"), format!("<Size>x</Size>{etag}{modified}")]
        {
            assert_eq!(listed(&lacking), None, "{lacking}");
        }
    }

    #[test]
    fn what_is_no_whole_listing_is_none() {
        for document in [
            "",
            "{}",
            "<html></html>",
            "<Error><Code>NoSuchBucket</Code></Error>",
            "<ListBucketResult>",
            "<ListBucketResult><Contents><Key>a</Key></Contents>",
            "<ListBucketResult><Contents><Key>a<b/></Key></Contents></ListBucketResult>",
            "<ListBucketResult><Contents><Key>&unknown;</Key></Contents></ListBucketResult>",
            "<ListBucketResult></Contents>",
            "</ListBucketResult>",
        ] {
            assert_eq!(Listing::parse(document), Err(NoListing), "{document}");
        }
    }
}

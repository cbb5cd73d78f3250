//! Pictures: decoding, and images of a size and number of channels from them.

use crate::config::{Fit, ImageSize};
use image::codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{
    AnimationDecoder, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgba, RgbaImage,
};
use std::io::Cursor;
use std::path::Path;

/// The endings of the pictures that are read.
pub const ENDINGS: [&str; 8] = ["png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff"];

/// The pixels of the largest picture, 8,192 x 8,192.
const MOST_PIXELS: u64 = 1 << 26;

/// Returns true if a file's ending is that of a picture.
pub fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.iter().any(|own| own.eq_ignore_ascii_case(ending)))
}

/// The picture in the bytes of a file, turned as its EXIF orientation says.
///
/// # Errors
/// The fault, if the bytes are no picture, a damaged one, an animation, or one of more than 2²⁶ pixels.
pub fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    let format = image::guess_format(bytes).map_err(cause)?;
    // The decoders allocate what a file says, however short it is.
    let (w, h) = ImageReader::with_format(Cursor::new(bytes), format).into_dimensions().map_err(cause)?;
    if u64::from(w) * u64::from(h) > MOST_PIXELS {
        return Err(format!("it has {w}x{h} pixels, more than {MOST_PIXELS}"));
    }
    if is_animation(bytes, format).map_err(cause)? {
        return Err(
            "it is an animation, of which one frame alone would be read; save its frames as pictures".into(),
        );
    }
    if format == ImageFormat::Jpeg && !is_whole_jpeg(bytes) {
        return Err("it is truncated".into());
    }
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(cause)?;
    let orientation = decoder.orientation().map_err(cause)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(cause)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Height, width and channels of the picture in the bytes of a file, by its header and its EXIF orientation.
///
/// # Errors
/// The fault, if the bytes are no picture.
pub fn header(bytes: &[u8]) -> Result<[usize; 3], String> {
    let format = image::guess_format(bytes).map_err(cause)?;
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(cause)?;
    let ((w, h), turned) = (decoder.dimensions(), decoder.orientation().map_err(cause)?);
    let color = decoder.color_type();
    let channels = if color.has_color() { 3 } else { 1 } + usize::from(color.has_alpha());
    let sideways = matches!(
        turned,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let (h, w) = if sideways { (w, h) } else { (h, w) };
    Ok([h as usize, w as usize, channels])
}

/// Returns true if a JPEG reaches its end marker (ITU-T T.81, B.1.1): the decoder fills what is missing with grey.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2;
    while let Some([0xff, marker]) = bytes.get(at..at + 2) {
        match marker {
            0xd9 => return true,
            // Fill bytes, and markers without a segment.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            marker => {
                let Some([high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([*high, *low]));
                if *marker == START_OF_SCAN {
                    // In the data of a scan 0xff stands before 0 or before a restart marker.
                    let within =
                        |pair: &[u8]| pair[0] != 0xff || pair[1] == 0 || (0xd0..=0xd7).contains(&pair[1]);
                    let rest = bytes.get(at..).unwrap_or_default();
                    let Some(next) = rest.windows(2).position(|pair| !within(pair)) else { return false };
                    at += next;
                }
            }
        }
    }
    false
}

/// A decoder's message repeats that of its cause.
fn cause(error: image::ImageError) -> String {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string().trim_end_matches('.').to_string()
}

fn is_animation(bytes: &[u8], format: ImageFormat) -> image::ImageResult<bool> {
    Ok(match format {
        ImageFormat::Png => PngDecoder::with_limits(Cursor::new(bytes), Limits::default())?.is_apng()?,
        ImageFormat::Gif => {
            let mut decoder = GifDecoder::new(Cursor::new(bytes))?;
            // A frame may be larger than the picture.
            decoder.set_limits(Limits::default())?;
            let mut frames = decoder.into_frames();
            frames.next().transpose()?;
            frames.next().transpose()?.is_some()
        }
        ImageFormat::WebP => WebPDecoder::new(Cursor::new(bytes))?.has_animation(),
        _ => false,
    })
}

/// The levels `[h, w, c]` of an image made from a picture. Transparent pixels are shown on white unless the image has four
/// channels; grey images have the luma of colours (ITU-R BT.709).
pub fn levels(picture: DynamicImage, [h, w, c]: [usize; 3], fit: Fit) -> Vec<u8> {
    let picture = if c < 4 && picture.color().has_alpha() { on_white(&picture) } else { picture };
    let picture = fitted(picture, ImageSize::new(h, w), fit);
    match c {
        1 => picture.into_luma8().into_raw(),
        3 => picture.into_rgb8().into_raw(),
        _ => picture.into_rgba8().into_raw(),
    }
}

/// A picture of another shape as an image of a size.
pub fn fitted(picture: DynamicImage, size: ImageSize, fit: Fit) -> DynamicImage {
    let (width, height) = (size.width as u32, size.height as u32);
    match fit {
        _ if (picture.width(), picture.height()) == (width, height) => picture,
        Fit::Crop => picture.resize_to_fill(width, height, FilterType::Lanczos3),
        Fit::Stretch => picture.resize_exact(width, height, FilterType::Lanczos3),
        Fit::Pad => padded(&picture.resize(width, height, FilterType::Lanczos3), width, height),
    }
}

/// The middle square of `size` pixels, as far as the picture reaches; the whole picture for 0.
pub fn middle(picture: DynamicImage, size: usize) -> DynamicImage {
    let size = if size == 0 { u32::MAX } else { size as u32 };
    let (w, h) = (picture.width().min(size), picture.height().min(size));
    picture.crop_imm((picture.width() - w) / 2, (picture.height() - h) / 2, w, h)
}

/// A picture in the middle of a black one.
fn padded(picture: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    let mut whole = RgbaImage::from_pixel(width, height, Rgba([0, 0, 0, 255]));
    let (x, y) = ((width - picture.width()) / 2, (height - picture.height()) / 2);
    image::imageops::overlay(&mut whole, &picture.to_rgba8(), x.into(), y.into());
    DynamicImage::ImageRgba8(whole)
}

fn on_white(picture: &DynamicImage) -> DynamicImage {
    let mut whole = RgbaImage::from_pixel(picture.width(), picture.height(), Rgba([255; 4]));
    image::imageops::overlay(&mut whole, &picture.to_rgba8(), 0, 0);
    DynamicImage::ImageRgba8(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jpeg_that_is_cut_off_is_refused_and_what_follows_its_end_is_ignored() {
        let noise = image::RgbImage::from_fn(40, 24, |x, y| {
            image::Rgb([(x * y % 251) as u8, (7 * x) as u8, (9 * y) as u8])
        });
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageRgb8(noise).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        let bytes = bytes.into_inner();
        assert_eq!(decode(&bytes).unwrap().width(), 40);
        for cut in 1..bytes.len() - 20 {
            assert!(decode(&bytes[..bytes.len() - cut]).is_err(), "{cut}");
        }
        assert!(decode(&[&bytes[..], b"more"].concat()).is_ok());
    }

    #[test]
    fn a_few_bytes_are_no_huge_picture() {
        // A header of BMP, 24 bits a pixel.
        let header = |w: u32, h: u32| {
            let [size, place, length, planes_and_bits] = [54u32, 54, 40, 0x18_0001].map(u32::to_le_bytes);
            let [w, h] = [w, h].map(u32::to_le_bytes);
            let head = [&b"BM"[..], &size, &[0; 4], &place, &length, &w, &h, &planes_and_bits].concat();
            [head, vec![0; 24]].concat()
        };
        let refused = |w, h| decode(&header(w, h)).unwrap_err();
        assert!(refused(65_535, 65_535).contains("it has 65535x65535 pixels"));
        assert!(refused(8193, 8192).contains("more than 67108864"));
        assert!(!refused(8192, 8192).contains("pixels"));
        // A picture of 8 x 8 pixels with a frame of 65,535 x 65,535.
        let screen = b"GIF89a\x08\0\x08\0\x80\0\0\0\0\0\xff\xff\xff";
        let frame = b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0\x3b";
        let message = decode(&[&screen[..], frame].concat()).unwrap_err();
        assert!(message.contains("limit"), "{message}");
    }
}

#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>
#include <stdexcept>

#include "framework/data/picture_decoders.hpp"

namespace scorenet::data {
namespace {

// A picture of one colour takes some 30 bytes, whatever its size (16,383 x 16,383 at most).
constexpr int64_t kMostPixelsAByte = int64_t{1} << 28;
// An animation's canvas costs nothing at all in the file, and is filled before a frame
// is looked at.
constexpr int64_t kMostCanvasAByte = int64_t{1} << 14;
constexpr std::string_view kExifStart("Exif\0\0", 6);  // some programs put it, the format does not

[[noreturn]] void fail(const std::string& reason) {
  throw std::runtime_error("libwebp: " + reason);
}

int orientation(WebPDemuxer* demuxer) {
  WebPChunkIterator chunk;
  std::string_view exif;
  if (WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk)) {
    exif = {reinterpret_cast<const char*>(chunk.chunk.bytes), chunk.chunk.size};
  }
  if (exif.starts_with(kExifStart)) exif.remove_prefix(kExifStart.size());
  const int result = exif_orientation(exif);
  WebPDemuxReleaseChunkIterator(&chunk);
  return result;
}

// The first frame on the whole canvas.
void decode_animation(const WebPData& data, RawPicture& picture) {
  WebPAnimDecoderOptions options;
  WebPAnimDecoderOptionsInit(&options);
  const std::unique_ptr<WebPAnimDecoder, decltype(&WebPAnimDecoderDelete)> decoder(
      WebPAnimDecoderNew(&data, &options), &WebPAnimDecoderDelete);
  uint8_t* canvas = nullptr;
  int milliseconds = 0;
  if (!decoder || !WebPAnimDecoderGetNext(decoder.get(), &canvas, &milliseconds)) {
    fail("the first frame is damaged");
  }
  picture.values.assign(canvas, canvas + picture.height * picture.width * 4);
}

void decode_still(const WebPData& data, RawPicture& picture) {
  const auto row_bytes = static_cast<int>(picture.width) * picture.channels;
  picture.values.resize(static_cast<size_t>(picture.height) * static_cast<size_t>(row_bytes));
  const auto decode = picture.channels == 4 ? &WebPDecodeRGBAInto : &WebPDecodeRGBInto;
  if (decode(data.bytes, data.size, picture.values.data(), picture.values.size(), row_bytes) ==
      nullptr) {
    fail("the data are damaged");
  }
}

}  // namespace

RawPicture decode_webp(std::string_view bytes, Part part) {
  const WebPData data{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)> demuxer(WebPDemux(&data),
                                                                         &WebPDemuxDelete);
  if (!demuxer) fail("cut short, or no WebP");
  RawPicture picture;
  picture.height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT);
  picture.width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH);
  const bool animation = WebPDemuxGetI(demuxer.get(), WEBP_FF_FORMAT_FLAGS) & ANIMATION_FLAG;
  check_pixel_count(picture.height, picture.width, bytes.size(),
                    animation ? kMostCanvasAByte : kMostPixelsAByte);
  picture.more_frames = WebPDemuxGetI(demuxer.get(), WEBP_FF_FRAME_COUNT) > 1;
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(data.bytes, data.size, &features) != VP8_STATUS_OK) fail("damaged header");
  picture.channels = animation || features.has_alpha ? 4 : 3;
  picture.orientation = orientation(demuxer.get());
  if (part == Part::header) return picture;
  if (animation) {
    decode_animation(data, picture);
  } else {
    decode_still(data, picture);
  }
  return picture;
}

}  // namespace scorenet::data

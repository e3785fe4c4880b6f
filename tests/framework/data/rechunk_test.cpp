// A file of ours stored anew: the same data, attributes and objects.
#include <cmath>
#include <limits>

#include "framework/data/convert.hpp"
#include "tests/framework/data/convert_case.hpp"

namespace scorenet::data {
namespace {

TEST_F(ConvertTest, RechunkedDataIsTheSameDataStoredAsAsked) {
  synthesize("gaussians25", {{"train", 100}, {"test", 30}}, 3, options());
  fs::rename(folder_.path() / "out.h5", folder_.path() / "in.h5");
  auto chunked = options();
  chunked.storage = {16, 5};
  rechunk(folder_.path() / "in.h5", chunked);
  EXPECT_EQ(opened("train").storage().chunk, (std::vector<int64_t>{16, 2}));
  EXPECT_TRUE(opened("train").storage().compressed);
  EXPECT_THAT(attribute("source"), testing::HasSubstr("gaussians25"));
  for (const std::string split : {"train", "test"}) {
    ImageDataset before((folder_.path() / "in.h5").string(), split);
    auto after = opened(split);
    Indices all(static_cast<size_t>(before.size()));
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
    EXPECT_TRUE(torch::equal(before.read(all).examples, after.read(all).examples));
    EXPECT_TRUE(torch::equal(before.labels(), after.labels()));
  }
}

TEST_F(ConvertTest, RechunkedDataKeepTheNaNThatMarkWhatIsMissing) {
  auto values = torch::zeros({4, 3});
  values[2][1] = std::nan("");
  auto file = Hdf5File::create(folder_.file("in.h5"));
  file.write_array("/train/images", values);
  file.close();
  rechunk(folder_.file("in.h5"), options());
  EXPECT_TRUE(torch::equal(opened("train").read_values({0, 1, 2, 3}).isnan(), values.isnan()));
}

// What h5py makes of `f.attrs["key"] = "text"`: text of variable length.
void put_text_attribute(hid_t object, const char* key, const std::vector<const char*>& values) {
  const Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.id(), H5T_VARIABLE);
  H5Tset_cset(type.id(), H5T_CSET_UTF8);
  const hsize_t count = values.size();
  const Hdf5Handle space(count == 1 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &count, nullptr),
                         H5Sclose);
  const Hdf5Handle made(H5Acreate2(object, key, type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT),
                        H5Aclose);
  ASSERT_GE(H5Awrite(made.id(), type.id(), values.data()), 0);
}

void put_number_attribute(hid_t object, const char* key, double value) {
  const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Hdf5Handle made(
      H5Acreate2(object, key, H5T_NATIVE_DOUBLE, space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  ASSERT_GE(H5Awrite(made.id(), H5T_NATIVE_DOUBLE, &value), 0);
}

double number_attribute(const std::string& path, const char* object, const char* key) {
  const Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  const Hdf5Handle attribute(H5Aopen_by_name(file.id(), object, key, H5P_DEFAULT, H5P_DEFAULT),
                             H5Aclose);
  double value = 0;
  H5Aread(attribute.id(), H5T_NATIVE_DOUBLE, &value);
  return value;
}

TEST_F(ConvertTest, RechunkedDataKeepTheAttributesOfEveryObject) {
  synthesize("gaussians25", {{"train", 100}}, 3, options());
  const std::string in = folder_.file("in.h5");
  fs::rename(folder_.path() / "out.h5", in);
  const std::vector<const char*> objects = {"/", "/train", "/train/images", "/train/labels"};
  {
    const Hdf5Handle file(H5Fopen(in.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    for (const char* name : objects) {
      const Hdf5Handle object(H5Oopen(file.id(), name, H5P_DEFAULT), H5Oclose);
      put_text_attribute(object.id(), "licence", {"CC BY 4.0, \xc3\xa9t\xc3\xa9"});
      put_text_attribute(object.id(), "authors", {"Ada", "", "Grace"});
      put_number_attribute(object.id(), "scale", 0.125);
    }
  }
  auto chunked = options();
  chunked.storage = {16, 5};
  EXPECT_THAT(rechunk(in, chunked), testing::IsEmpty());
  for (const char* name : objects) {
    const auto text = [&](const char* key) {
      return Hdf5File::open(folder_.file("out.h5")).attribute(name, key);
    };
    EXPECT_EQ(text("licence"), "CC BY 4.0, \xc3\xa9t\xc3\xa9") << name;
    EXPECT_EQ(text("authors"), "Ada\n\nGrace") << name;
    EXPECT_EQ(number_attribute(folder_.file("out.h5"), name, "scale"), 0.125) << name;
  }
}

TEST_F(ConvertTest, RechunkRefusesLabelsThatNumberNoClass) {
  constexpr int64_t kMost = (int64_t{1} << 31) - 1;
  for (const int64_t label : {kMost, kMost + 1, std::numeric_limits<int64_t>::max()}) {
    auto in = Hdf5File::create(folder_.file("in.h5"));
    in.write_array("/train/images", torch::zeros({2, 3}, torch::kFloat32));
    in.write_array("/train/labels", torch::tensor({int64_t{0}, label}));
    in.close();
    if (label == kMost) {
      rechunk(folder_.path() / "in.h5", options());
      EXPECT_EQ(opened("train").labels()[1].item<int64_t>(), kMost);
      fs::remove(folder_.path() / "out.h5");
      continue;
    }
    EXPECT_ERROR(rechunk(folder_.path() / "in.h5", options()), DataError, "in.h5",
                 "label " + std::to_string(label), "index 1", "below 2147483648");
    EXPECT_TRUE(nothing_written());
  }
}

}  // namespace
}  // namespace scorenet::data

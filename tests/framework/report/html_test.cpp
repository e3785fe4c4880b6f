#include "framework/report/html.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace scorenet::report {
namespace {

TEST(Html, NoByteOfATextIsMarkup) {
  EXPECT_EQ(text("<a href='x' b=\"y\">&amp;").code,
            "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp;amp;");
  EXPECT_EQ(text("two\nlines").code, "two\nlines");
  EXPECT_EQ(text("a\x01"
                 "b")
                .code,
            "a\\x01b");
  EXPECT_EQ(text("caf\xc3\xa9").code, "caf\xc3\xa9");  // UTF-8 stays
  EXPECT_EQ(text("\xff<").code, "\\xFF&lt;");          // no UTF-8
}

TEST(Html, BytesThatAreNoTextAreShownAsTheirNumbers) {
  EXPECT_EQ(text("a\x01\xff\nb").code, "a\\x01\\xFF\nb");
  EXPECT_EQ(text("<&>\"'").code, "&lt;&amp;&gt;&quot;&#39;");
}

TEST(Html, NumbersHaveFourDigitsThatCount) {
  EXPECT_EQ(number(3.14159).code, "3.142");
  EXPECT_EQ(number(-1234567).code, "-1.235e+06");
  EXPECT_EQ(number(0.5, 2).code, "0.5");
  EXPECT_EQ(number(NAN).code + number(INFINITY).code, "");
}

TEST(Html, WhatIsEmptyIsLeftOut) {
  EXPECT_EQ(table({text("head")}, {}).code, "");
  EXPECT_EQ(section("Title", Html()).code, "");
  EXPECT_EQ(element("p", text("x"), "kind").code, "<p class=\"kind\">x</p>");
}

TEST(Html, TheFirstCellHeadsARow) {
  EXPECT_EQ(table({text("a"), text("b")}, {{text("1"), text("2")}}).code,
            "<div class=\"wide\"><table><thead><tr><th>a</th><th>b</th></tr></thead>"
            "<tbody><tr><th>1</th><td>2</td></tr>\n</tbody></table></div>\n");
}

// RFC 4648, section 10.
TEST(Html, BytesAreBase64) {
  const std::string head = "data:image/png;base64,";
  EXPECT_EQ(png_address(""), head);
  EXPECT_EQ(png_address("f"), head + "Zg==");
  EXPECT_EQ(png_address("fo"), head + "Zm8=");
  EXPECT_EQ(png_address("foo"), head + "Zm9v");
  EXPECT_EQ(png_address("foobar"), head + "Zm9vYmFy");
  EXPECT_EQ(png_address("\xff\xff\xff"), head + "////");
  EXPECT_EQ(png_address("\xff\xfe\xfd"), head + "//79");
}

}  // namespace
}  // namespace scorenet::report

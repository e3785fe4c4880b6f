// EXPECT_ERROR(statement, DataError, "images.h5", "(3, 4)"): the type, and that the sentence names
// each of these.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "framework/core/error.hpp"

namespace scorenet::test {

/// The sentence of the ErrorType that `statement` throws; "" if it throws nothing.
template <typename ErrorType, typename Statement>
std::string error_of(const Statement& statement) {
  try {
    statement();
  } catch (const ErrorType& error) {
    return error.what();
  }
  return "";
}

template <typename ErrorType, typename Statement>
void expect_error(const Statement& statement, const std::vector<std::string>& named,
                  const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  const testing::ScopedTrace trace(file, line, "expect_error");
  try {
    statement();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const ErrorType& error) {
    for (const auto& text : named) EXPECT_THAT(error.what(), testing::HasSubstr(text));
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another type was thrown: " << error.what();
  }
}

template <typename ErrorType, typename Statement>
void expect_error(const Statement& statement, const std::string& named,
                  const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  expect_error<ErrorType>(statement, std::vector<std::string>{named}, file, line);
}

}  // namespace scorenet::test

#define EXPECT_ERROR(statement, ErrorType, ...) \
  scorenet::test::expect_error<ErrorType>(      \
      [&] { statement; }, std::vector<std::string>{__VA_ARGS__}, __FILE__, __LINE__)

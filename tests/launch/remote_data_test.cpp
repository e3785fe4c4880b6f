// Data behind an address: HDF5 asks a server for ranges of bytes.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "framework/checkpoint/safetensors.hpp"
#include "tests/launch/program.hpp"

namespace scorenet::test {
namespace {

using testing::HasSubstr;

#ifdef H5_HAVE_ROS3_VFD

// Answers GET and HEAD of one file on the loopback, an answer a connection.
class FileServer {
 public:
  explicit FileServer(std::string bytes)
      : bytes_(std::move(bytes)), socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(socket_, 8) != 0 ||
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("no socket on the loopback");
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~FileServer() {
    ::shutdown(socket_, SHUT_RDWR);
    thread_.join();
    ::close(socket_);
  }
  std::string address(const std::string& name) const {
    return "http://127.0.0.1:" + std::to_string(port_) + "/" + name;
  }

 private:
  void serve() {
    for (int one = ::accept(socket_, nullptr, nullptr); one >= 0;
         one = ::accept(socket_, nullptr, nullptr)) {
      answer(one);
      ::close(one);
    }
  }

  void answer(int connection) const {
    std::string request;
    char part[4096];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t got = ::recv(connection, part, sizeof part, 0);
      if (got <= 0) return;
      request.append(part, static_cast<size_t>(got));
    }
    size_t first = 0, last = bytes_.size() - 1;
    const size_t range = request.find("bytes=");
    if (range != std::string::npos) {
      first = std::stoul(request.substr(range + 6));
      const size_t dash = request.find('-', range);
      if (std::isdigit(request[dash + 1]))
        last = std::min<size_t>(last, std::stoul(request.substr(dash + 1)));
    }
    const std::string body = bytes_.substr(first, last - first + 1);
    std::string text =
        range == std::string::npos ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 206 Partial Content\r\n";
    text += "Connection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n";
    if (!request.starts_with("HEAD")) text += body;
    for (size_t sent = 0; sent < text.size();) {
      const ssize_t more = ::send(connection, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (more <= 0) return;
      sent += static_cast<size_t>(more);
    }
  }

  std::string bytes_;
  int socket_, port_ = 0;
  std::thread thread_;
};

TEST(RemoteData, IsReadInPlaceAndIsTheSameDataSet) {
  const Folder folder;
  const TinyRun tiny = make_tiny_run(folder);
  // Chunks, whose order of samples does not depend on where the file lies.
  const std::string chunked = folder / "chunked.h5";
  const Outcome made = run("SCORENET data rechunk " + tiny.data + " --chunk 8 --out " + chunked);
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const FileServer server(text_of(chunked));
  const auto train = [&](const std::string& name, const std::string& path) {
    const Outcome outcome =
        run("OMP_NUM_THREADS=1 SCORENET train " + tiny.config + " --outdir " + (folder / name) +
            " --data.path " + path + " --train.steps 4 --eval.every 4");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  };
  train("here", chunked);
  train("there", server.address("tiny.h5"));
  const auto weights = [&](const std::string& name) {
    return checkpoint::read_safetensors(folder / (name + "/checkpoints/0000004/model.safetensors"))
        .tensors;
  };
  const auto here = weights("here");
  for (const auto& [name, values] : weights("there"))
    EXPECT_TRUE(torch::equal(values, here.at(name))) << name;
  const Outcome info = run("SCORENET data info " + server.address("tiny.h5"));
  EXPECT_EQ(info.exit_code, 0) << info.err;
  EXPECT_THAT(info.out, HasSubstr("images"));
}

TEST(RemoteData, WhatDoesNotAnswerIsADataErrorThatNamesTheAddress) {
  const std::string address = FileServer("x").address("gone.h5");
  const Outcome outcome = run("SCORENET data info " + address);
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.err, HasSubstr(address + ": cannot be opened"));
}

#else

TEST(RemoteData, ALibraryWithoutTheDriverSaysWhichHasIt) {
  const Outcome outcome = run("SCORENET data info https://example.org/a.h5");
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("--enable-ros3-vfd"));
}

#endif

}  // namespace
}  // namespace scorenet::test

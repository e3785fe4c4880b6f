// What reads a stranger's files, one function a kind: it is given any bytes at all.
//
// A target passes over the errors that its reader documents. Anything else is a finding: another
// exception, a signal, a report of a sanitizer, an answer that is not the file's. It returns
// whether the input was taken.
#pragma once

#include <array>
#include <string_view>

namespace scorenet::fuzz {

bool safetensors(std::string_view bytes);
bool manifest(std::string_view bytes);
bool latest(std::string_view bytes);
bool config(std::string_view bytes);
bool idx(std::string_view bytes);
bool npy(std::string_view bytes);
bool picture(std::string_view bytes);
bool zip(std::string_view bytes);
bool data_map(std::string_view bytes);
bool hdf5(std::string_view bytes);
bool diffusers(std::string_view bytes);
bool snapshot(std::string_view bytes);

/// How replay_test changes the files of a corpus.
enum class Form { bytes, toml };

struct Target {
  const char* name;  // of its folder in corpus/, and of its program
  bool (*run)(std::string_view bytes);
  Form form;
};

inline constexpr std::array<Target, 12> kTargets{{{"safetensors", safetensors, Form::bytes},
                                                  {"manifest", manifest, Form::bytes},
                                                  {"latest", latest, Form::bytes},
                                                  {"config", config, Form::toml},
                                                  {"idx", idx, Form::bytes},
                                                  {"npy", npy, Form::bytes},
                                                  {"picture", picture, Form::bytes},
                                                  {"zip", zip, Form::bytes},
                                                  {"data_map", data_map, Form::toml},
                                                  {"hdf5", hdf5, Form::bytes},
                                                  {"diffusers", diffusers, Form::bytes},
                                                  {"snapshot", snapshot, Form::bytes}}};

}  // namespace scorenet::fuzz
